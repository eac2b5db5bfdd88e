"""Every actor there is: importing this registers them all with the broker that is set by then."""

import workers.cleanup
import workers.generation
import workers.storage
import workers.uploads
import workers.variants

__all__ = ["workers"]
