#!lua flags=allow-oom
-- Note that a recurring look was done: a role's tick, an account's audit.
-- KEYS 1 what was done (hash)
-- ARGV 1 role or account  2 when, or for which store
-- Returns 1.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
