#!lua flags=allow-oom
-- cut -> submitting: what is about to be created is on record before the provider is asked. The lease is extended to
-- cover the create call.
-- KEYS 1 batch (hash)  2 the account's creates (zset)  3 the account's intents (hash: rows -> batch)
--      4 the account's open batches (hash)  5 its believed limits (hash)  6 custom_ids in the order of the rows (string)
-- ARGV 1 fence  2 nonce of the attempt  3 rows  4 bytes of the rows  5 uploaded file's id or ''  6 now (ms)  7 lease (ms)
--      8 most creates an hour  9 batch id  10 '1' where the provider has no tags  11 key prefix of batches
--      12 cancel_ms as the caller has seen it when it rendered the rows
--      13 estimated tokens of the rows  14 bytes of their bodies  15 pool of the lane's budget  16 most tokens
--      17 most requests in it (0: no limit known)  18 the share of it that is kept for small batches
--      19 custom_ids in the order of the rows, or '' where a file has them
--      20 most batches at the provider  21 which pool each model counts in (JSON, or '')
-- Returns 1; 0 when the account has used up its creates of this hour; where there are no tags and another intent
--   with the same number of rows is open, so that neither could be told from the other: -1 while its create may be
--   running, -2 while it is being reconciled; -3 when the batch was cancelled after it was rendered: render it again;
--   -4 when its budget has no room beside what was sent already, or its provider holds as many batches as it may. It keeps
--   the room that it wants, so that nothing new is cut into that; what only waits does not count against it, lest two that
--   wait stop each other.
--   Errors LEASELOST, STATE.
--@include fence
--@include room
local batch = redis.call('HMGET', KEYS[1], 'state', 'nonce', 'cancel_ms', 'lane')
if batch[1] == 'submitting' and batch[2] == ARGV[2] then
  return 1
end
if batch[1] ~= 'cut' then
  return redis.error_reply('STATE intent needs a batch in cut, this one is ' .. tostring(batch[1]))
end
if (batch[3] or '0') ~= ARGV[12] then
  return -3
end
if creates_full(KEYS[2], KEYS[5], ARGV[8], ARGV[6]) then
  return 0
end
local limits = room_limits(KEYS[5], ARGV[15], ARGV[16], ARGV[17], ARGV[6])
local used = room_used(KEYS[4], ARGV[15], '', ARGV[9], true, ARGV[21])
if used.sent >= tonumber(ARGV[20]) or no_room(used, limits, tonumber(ARGV[3]), tonumber(ARGV[13]), tonumber(ARGV[18]), true, false) then
  redis.call('HSET', KEYS[4], ARGV[9], room_entry(ARGV[3], ARGV[13], '0', ARGV[15], batch[4]))
  return -4
end
if ARGV[10] == '1' then
  local twin = redis.call('HGET', KEYS[3], ARGV[3])
  local state = twin and twin ~= ARGV[9] and redis.call('HGET', ARGV[11] .. twin, 'state')
  if state == 'submitting' or state == 'reconciling' then
    return state == 'submitting' and -1 or -2
  end
  redis.call('HSET', KEYS[3], ARGV[3], ARGV[9])
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('HSET', KEYS[1], 'state', 'submitting', 'nonce', ARGV[2], 'rows', ARGV[3], 'row_bytes', ARGV[4],
           'input_ref', ARGV[5], 'intent_ms', ARGV[6], 'lease_until', now + tonumber(ARGV[7]),
           'asked_ms', now, 'call_until', now + tonumber(ARGV[7]), 'sent_tokens', ARGV[13], 'body_bytes', ARGV[14],
           'pool', ARGV[15])
redis.call('HSET', KEYS[4], ARGV[9], room_entry(ARGV[3], ARGV[13], '1', ARGV[15], batch[4]))
if ARGV[19] ~= '' then
  redis.call('SET', KEYS[6], ARGV[19])
end
redis.call('ZADD', KEYS[2], ARGV[6], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', tonumber(ARGV[6]) - 3600000)
redis.call('EXPIRE', KEYS[2], 3600)
return 1
