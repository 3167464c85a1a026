#!lua flags=allow-oom
-- Put entries that a batch carries into the retry pool, with what happened to them so far. What the batch does not carry
-- (any more) is skipped, so a repeated pass counts nothing twice.
-- KEYS 1 batch (hash)  2 riders (zset)  3 requests (stream)  4 attempts (hash)  5 retry pool (zset)  6 ledger (hash)
-- ARGV 1 fence  2 lease (ms) to renew  then 4 an entry: entry id, attempts record (JSON), not before (ms), reason
-- Returns for each entry 1 or 0 (skipped). Error LEASELOST.
--@include fence
--@include carry
local codes, moved = {}, 0
for at = 3, #ARGV, 4 do
  local entry = ARGV[at]
  local code = 0
  if carries(KEYS[1], KEYS[2], KEYS[4], entry) and #redis.call('XRANGE', KEYS[3], entry, entry) == 1 then
    redis.call('HSET', KEYS[4], entry, ARGV[at + 1])
    redis.call('ZADD', KEYS[5], ARGV[at + 2], entry)
    redis.call('ZREM', KEYS[2], entry)
    redis.call('HINCRBY', KEYS[6], 'retries:' .. ARGV[at + 3], 1)
    code, moved = 1, moved + 1
  end
  codes[#codes + 1] = code
end
local clock = redis.call('TIME')
redis.call('HSET', KEYS[1], 'lease_until', clock[1] * 1000 + math.floor(clock[2] / 1000) + tonumber(ARGV[2]))
redis.call('HINCRBY', KEYS[1], 'retried', moved)
return codes
