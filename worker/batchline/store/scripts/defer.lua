#!lua flags=allow-oom
-- A provider took too many creates in too short a time: nothing is created on the account before it takes some again.
-- KEYS 1 the account's believed limits (hash)
-- ARGV 1 not before (ms)  2 the field for that  3 how long it is kept (ms)
-- Returns that time.
local till = math.max(tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or 0))
redis.call('HSET', KEYS[1], ARGV[2], string.format('%.0f', till))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return till
