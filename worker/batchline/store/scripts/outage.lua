#!lua flags=allow-oom
-- Note provider trouble of an account: no cuts until it is over, and a wait that doubles with each failure in a row.
-- What fails while the account is down already (calls under way at the same time, a repeat) is the same failure.
-- KEYS 1 account (hash)
-- ARGV 1 now (ms)  2 least wait (ms)  3 most wait (ms)  4 wait the provider asked for (ms, 0: none)  5 call  6 code  7 message
-- Returns the time until which the account is down (ms).
local known = redis.call('HMGET', KEYS[1], 'failures', 'down_until')
local failures, down_until = tonumber(known[1] or 0), tonumber(known[2] or 0)
if tonumber(ARGV[1]) >= down_until then
  failures = failures + 1
end
local wait = math.min(tonumber(ARGV[3]), tonumber(ARGV[2]) * 2 ^ math.min(failures - 1, 30))
wait = math.max(wait, math.min(tonumber(ARGV[4]), tonumber(ARGV[3])))
local till = string.format('%.0f', math.max(down_until, ARGV[1] + wait))
redis.call('HSETNX', KEYS[1], 'since', ARGV[1])
redis.call('HSET', KEYS[1], 'failures', failures, 'down_until', till, 'call', ARGV[5], 'code', ARGV[6], 'message', ARGV[7])
return tonumber(till)
