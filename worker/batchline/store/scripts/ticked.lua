#!lua flags=allow-oom
-- Note that a role's tick has done its work.
-- KEYS 1 ticks (hash)
-- ARGV 1 role  2 now (ms)
-- Returns 1.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
