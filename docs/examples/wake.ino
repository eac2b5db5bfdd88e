// One wake of a pantry camera: ESP32 with a camera, Arduino core 3, ArduinoJson 7.
//
// Posts a photo with everything there is to say, keeps the new config, does the commands, updates the firmware, and
// sleeps. Everything that must survive the sleep is in RTC memory or in Preferences. Set up the camera's pins where
// your board's example does.

#include <ArduinoJson.h>
#include <HTTPClient.h>
#include <HTTPUpdate.h>
#include <Preferences.h>
#include <WiFi.h>
#include <esp_camera.h>

const char *SERVER = "http://192.168.1.10:8000";
const char *KEY = "pantry-cam-001";
const char *TOKEN = "qmd_...";  // from registerDevice
const char *FIRMWARE = "1.4.0";
const int TRIES = 3;

RTC_DATA_ATTR uint32_t bootCount = 0;
RTC_DATA_ATTR uint32_t wakeInterval = 3600;    // seconds, as the server said last
RTC_DATA_ATTR char lastCommand[40] = "";       // so that a command that comes twice is done once
RTC_DATA_ATTR char results[512] = "[]";        // of commands, told at the next wake
Preferences kept;

// The report: small enough to travel beside the photo in a form.
String report() {
  JsonDocument said;
  said["batteryV"] = analogReadMilliVolts(A0) * 2 / 1000.0;
  said["rssi"] = WiFi.RSSI();
  said["firmware"] = FIRMWARE;
  said["bootCount"] = bootCount;
  said["freeHeapBytes"] = ESP.getFreeHeap();
  said["uptimeSeconds"] = millis() / 1000;
  said["wakeIntervalSeconds"] = wakeInterval;
  said["sleepSeconds"] = wakeInterval;
  said["config"]["version"] = kept.getUInt("configVersion", 0);
  if (kept.isKey("refused")) {  // we were given a config that we cannot run
    said["config"]["version"] = kept.getUInt("refused");
    said["config"]["error"] = "it did not parse";
  }
  JsonDocument done;
  deserializeJson(done, results);
  said["commands"] = done;
  String text;
  serializeJson(said, text);
  return text;
}

// A form of two parts: `metadata` and `image`. Returns the answer's status, 0 or less when there was none.
int post(camera_fb_t *photo, String &answer) {
  const String edge = "----wake";
  String head = "--" + edge + "\r\nContent-Disposition: form-data; name=\"metadata\"\r\n"
                "Content-Type: application/json\r\n\r\n" + report() + "\r\n"
                "--" + edge + "\r\nContent-Disposition: form-data; name=\"image\"; filename=\"photo.jpg\"\r\n"
                "Content-Type: image/jpeg\r\n\r\n";
  String tail = "\r\n--" + edge + "--\r\n";
  size_t length = head.length() + photo->len + tail.length();
  uint8_t *body = (uint8_t *)ps_malloc(length);
  if (body == nullptr) return 0;
  memcpy(body, head.c_str(), head.length());
  memcpy(body + head.length(), photo->buf, photo->len);
  memcpy(body + head.length() + photo->len, tail.c_str(), tail.length());

  HTTPClient http;
  http.setTimeout(15000);
  http.begin(String(SERVER) + "/v1/devices/" + KEY + "/images");
  http.addHeader("Authorization", String("Bearer ") + TOKEN);
  http.addHeader("Content-Type", "multipart/form-data; boundary=" + edge);
  int status = http.POST(body, length);
  if (status > 0) answer = http.getString();
  http.end();
  free(body);
  return status;
}

void keepConfig(JsonObject next) {
  if (next["config"].isNull()) return;
  uint32_t version = next["configVersion"];
  JsonObject config = next["config"];
  if (config["deviceName"].is<const char *>()) {  // whatever this firmware needs in order to run it
    String text;
    serializeJson(config, text);
    kept.putString("config", text);
    kept.putUInt("configVersion", version);
    kept.remove("refused");
  } else {
    kept.putUInt("refused", version);
  }
}

void doCommands(JsonArray commands) {
  JsonDocument done;
  JsonArray told = done.to<JsonArray>();
  bool restart = false;
  for (JsonObject command : commands) {
    JsonObject result = told.add<JsonObject>();
    result["id"] = command["id"];
    result["status"] = "DONE";
    String type = command["type"];
    bool again = strcmp(command["id"], lastCommand) == 0;
    strlcpy(lastCommand, command["id"], sizeof(lastCommand));
    if (type == "restart") {
      restart = restart || !again;
    } else if (type == "setWakeInterval") {
      wakeInterval = command["arguments"]["seconds"];
    } else if (type == "captureNow") {
      wakeInterval = again ? wakeInterval : 1;  // wake at once: every wake posts a photo
    } else {
      result["status"] = "FAILED";
      result["message"] = "this firmware does not know it";
    }
  }
  serializeJson(done, results, sizeof(results));
  if (restart) ESP.restart();
}

void updateFirmware(JsonObject firmware) {
  if (firmware.isNull() || firmware["version"] == FIRMWARE) return;
  WiFiClient client;  // WiFiClientSecure with the server's certificate for https
  httpUpdate.rebootOnUpdate(true);
  httpUpdate.update(client, firmware["url"].as<String>());  // returns only when it failed: tried again next wake
}

void sleep() {
  esp_camera_deinit();
  WiFi.disconnect(true);
  esp_deep_sleep(wakeInterval * 1000000ULL);
}

void setup() {
  bootCount++;
  kept.begin("wake");
  WiFi.begin();  // with the credentials that were stored before
  if (WiFi.waitForConnectResult(10000) != WL_CONNECTED) sleep();
  camera_fb_t *photo = esp_camera_fb_get();
  if (photo == nullptr) sleep();

  String answer;
  int status = 0;
  for (int attempt = 0; attempt < TRIES; attempt++) {
    status = post(photo, answer);
    if (status > 0 && status != 429 && status < 500) break;  // everything else is worth another try
    delay(2000 << attempt);
  }
  esp_camera_fb_return(photo);

  JsonDocument said;
  if ((status == 200 || status == 201) && !deserializeJson(said, answer)) {
    JsonObject next = said["next"];
    strcpy(results, "[]");  // they were told
    wakeInterval = next["wakeInSeconds"];
    keepConfig(next);
    doCommands(next["commands"]);
    updateFirmware(next["firmware"]);
  }
  sleep();
}

void loop() {}
