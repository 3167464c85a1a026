#!lua flags=allow-oom
-- Count a second batch at the provider for one attempt of ours, once, however often it is found.
-- KEYS 1 the account's duplicates (hash)
-- ARGV 1 provider's batch  2 now (ms)
-- Returns 1 when it was not counted before, else 0.
return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
