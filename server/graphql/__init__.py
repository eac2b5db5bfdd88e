"""GraphQL on the wire.

request     what was asked, whichever way it came
documents   documents parsed, validated and measured once; those that are known by an id alone
executor    one operation, from its document to its answer
http        GraphQL over HTTP
fanout      subscriptions: executed once for all who asked the same
websocket   graphql-transport-ws
sse         server-sent events
"""
