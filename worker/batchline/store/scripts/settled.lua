#!lua flags=allow-oom
-- ended, cut -> settled, once a sweep in pages has shown that the batch carries nothing any more (what it carries only
-- ever shrinks). Its record stays for a while; its room and agenda are free.
-- KEYS 1 batch (hash)  2 riders (zset)  3 the account's open batches (hash)  4 agenda of accumulate  5 agenda of poll
--      6 settled batches (zsets)  7 ledger (hash)  8 ledgers (zset)  9 claim on the provider's batch (string), or the batch again
--      10 requests (stream)  11 attempts (hash)  12 files (zset)  13 the day's ledger (hash)  14 days (zset)
--      15 walk (hash)  16 custom_ids in the order of the rows (string)
-- ARGV 1 fence  2 batch id  3 now (ms)  4 waste (nano-dollars)  5 the record is kept (s)  6 the claim is kept (s)
--      7 ledger name  8 bucket of the turnaround or ''  9 turnaround (ms)  10 bucket of the size  11 rows
--      12 most entries to sweep in this call  13 when its files may be deleted (ms)
--      14 name of the day's ledger  15 it is kept (s)  16 bucket bounds of the error ratio (ascending, comma separated)
--      17 why waste was paid for nothing, unless there was a duplicate  18 bytes per token as its answers show, or 0  19 how much that weighs (0 to 1)
--      20 bytes per token until a lane has an estimate of its own  then 21 a file: `account|file`
-- Returns 'more' (call again), 'carries' (it does: settle or retry that first), or the batch record as HGETALL. Errors LEASELOST, STATE.
--@include fence
--@include day
--@include listed

-- Correct the lane's estimate of tokens by what its answers used.
local function learn()
  local found, weight = math.min(tonumber(ARGV[18]), 10000), tonumber(ARGV[19])
  if found <= 0 or redis.call('EXISTS', KEYS[15]) == 0 then
    return
  end
  local before = tonumber(redis.call('HGET', KEYS[15], 'per_token') or ARGV[20])
  -- Averaged as tokens per byte: that is what adds up.
  local now = 1 / ((1 - weight) / before + weight / found)
  local batch = redis.call('HMGET', KEYS[1], 'sent_tokens', 'rows', 'succeeded', 'input_tokens')
  redis.call('HSET', KEYS[15], 'per_token', string.format('%.6f', now),
             'estimated', math.floor(batch[1] * batch[3] / batch[2]), 'counted', batch[4])
end

local state = redis.call('HGET', KEYS[1], 'state')
if state == 'settled' then
  return redis.call('HGETALL', KEYS[1])
end
if state ~= 'ended' and state ~= 'cut' then
  return redis.error_reply('STATE settled needs a batch in ended or cut, this one is ' .. tostring(state))
end
for _, entry in ipairs(redis.call('ZRANGE', KEYS[2], 0, ARGV[12] - 1)) do
  if #redis.call('XRANGE', KEYS[10], entry, entry) == 1 then
    return 'carries'
  end
  redis.call('ZREM', KEYS[2], entry)
end
if redis.call('ZCARD', KEYS[2]) > 0 then
  return 'more'
end
local range = redis.call('HMGET', KEYS[1], 'swept', 'after', 'last')
local after = range[1] or range[2]
if after ~= range[3] then
  local page = redis.call('XRANGE', KEYS[10], '(' .. after, range[3], 'COUNT', ARGV[12])
  for _, entry in ipairs(page) do
    if redis.call('HEXISTS', KEYS[11], entry[1]) == 0 then
      return 'carries'
    end
    after = entry[1]
  end
  if #page == tonumber(ARGV[12]) then
    redis.call('HSET', KEYS[1], 'swept', after)
    return 'more'
  end
end
redis.call('DEL', KEYS[16])
learn()
redis.call('HSET', KEYS[1], 'state', 'settled', 'settled_ms', ARGV[3], 'waste_nano', ARGV[4], 'lease_until', 0)
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('HDEL', KEYS[3], ARGV[2])
redis.call('ZREM', KEYS[4], ARGV[2])
redis.call('ZREM', KEYS[5], ARGV[2])
redis.call('ZADD', KEYS[6], ARGV[3], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', ARGV[3] - ARGV[5] * 1000)
if KEYS[9] ~= KEYS[1] then
  redis.call('EXPIRE', KEYS[9], ARGV[6])
end
for i = 21, #ARGV do
  redis.call('ZADD', KEYS[12], ARGV[13], ARGV[i])
end
if state == 'ended' then
  local why = redis.call('HEXISTS', KEYS[1], 'twin') == 1 and 'duplicate' or ARGV[17]
  redis.call('HINCRBY', KEYS[7], 'batches', 1)
  redis.call('HINCRBY', KEYS[7], 'size:' .. ARGV[10], 1)
  redis.call('HINCRBY', KEYS[7], 'size_sum', ARGV[11])
  redis.call('HINCRBY', KEYS[7], 'turnaround:' .. ARGV[8], 1)
  redis.call('HINCRBY', KEYS[7], 'turnaround_ms', ARGV[9])
  redis.call('HINCRBY', KEYS[7], 'wasted_nano:' .. why, ARGV[4])
  local ends = {}
  for i, field in ipairs({'succeeded', 'failed', 'retried'}) do
    ends[i] = tonumber(redis.call('HGET', KEYS[1], field) or 0)
  end
  local wrong, total = ends[2] + ends[3], ends[1] + ends[2] + ends[3]
  local ratio, bucket = total > 0 and wrong / total or 0, 0
  for bound in string.gmatch(ARGV[16], '[^,]+') do
    if ratio <= tonumber(bound) then
      break
    end
    bucket = bucket + 1
  end
  redis.call('HINCRBY', KEYS[7], 'error_ratio:' .. bucket, 1)
  redis.call('HINCRBY', KEYS[7], 'error_ratio_ppm', math.floor(ratio * 1000000 + 0.5))
  list_ledger(KEYS[8], ARGV[7], ARGV[3])
  add_to_day(KEYS[13], KEYS[14], ARGV[14], tonumber(ARGV[3]), ARGV[15], {batches = 1, ['wasted_nano:' .. why] = tonumber(ARGV[4])})
end
return redis.call('HGETALL', KEYS[1])
