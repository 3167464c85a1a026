#!lua flags=allow-oom
-- Note what a step saw of a batch: its progress at the provider, since when it is stuck, what its settling waits for.
-- KEYS 1 batch (hash)
-- ARGV 1 fence  then 2 a note: field, value
-- Returns 1. Error LEASELOST.
--@include fence
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return 1
