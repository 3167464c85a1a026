#!lua flags=allow-oom
-- Back to `cut`, same range and riders, no attempt used: proven absent, no room, or refused as a whole. Gives the
-- lease back, and the room until the next intent: it may wait for long. The claim on the provider's dead batch, if any, stays for a while and then lapses.
-- KEYS 1 batch (hash)  2 agenda of accumulate  3 agenda of poll (zsets)  4 claim on the provider's batch (string), or the batch again
--      5 the account's intents (hash)  6 files (zset)  7 the account's open batches (hash)
--      8 custom_ids in the order of the rows (string)
-- ARGV 1 fence  2 batch id  3 not before (ms)  4 reason  5 how long the claim is kept (s)
--      6 when the attempt's input file may be deleted (ms)  7 how the account's files are named: a prefix
-- Returns 1. Errors LEASELOST, STATE.
--@include fence
--@include room
local batch = redis.call('HMGET', KEYS[1], 'state', 'lease_until', 'call_until')
local state = batch[1]
if state == 'cut' and batch[2] == '0' then
  return 1
end
if state == 'ended' or state == 'settled' then
  return redis.error_reply('STATE again needs a batch that has no results, this one is ' .. state)
end
local clock = redis.call('TIME')
if state == 'reconciling' and clock[1] * 1000 < tonumber(batch[3]) then
  return redis.error_reply('STATE again must wait until the create call can no longer be running')
end
if KEYS[4] ~= KEYS[1] then
  redis.call('EXPIRE', KEYS[4], ARGV[5])
end
local rows = redis.call('HGET', KEYS[1], 'rows')
if rows and redis.call('HGET', KEYS[5], rows) == ARGV[2] then
  redis.call('HDEL', KEYS[5], rows)
end
local file = redis.call('HGET', KEYS[1], 'input_ref') or ''
if file ~= '' then
  redis.call('ZADD', KEYS[6], ARGV[6], ARGV[7] .. file)
end
redis.call('HDEL', KEYS[1], 'rows', 'row_bytes', 'input_ref', 'intent_ms', 'asked_ms', 'provider_id', 'submitted_ms',
           'expires_ms', 'fenced_ms', 'embarks', 'sent_tokens', 'body_bytes')
redis.call('DEL', KEYS[8])
if redis.call('HEXISTS', KEYS[7], ARGV[2]) == 1 then
  local kept = redis.call('HMGET', KEYS[1], 'pool', 'lane')
  redis.call('HSET', KEYS[7], ARGV[2], room_entry(0, 0, '0', kept[1] or '', kept[2]))
end
redis.call('HINCRBY', KEYS[1], 'again', 1)
redis.call('HSET', KEYS[1], 'state', 'cut', 'next_ms', ARGV[3], 'reason', ARGV[4], 'lease_until', 0)
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
return 1
