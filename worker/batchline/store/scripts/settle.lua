#!lua flags=allow-oom
-- Answer requests once and for all: push each reply, add it to the ledger and to its batch, delete the entry and its
-- traces. An entry that is gone was answered before and is skipped. An answer settles an entry whoever carries it; what
-- is marked `own` (failures) only by the batch that carries it. Without a batch, only entries that no batch carries.
-- A request given up on leaves a dead letter: its fields as they stand and all that happened to it.
-- KEYS 1 batch (hash; any unused key without a batch)  2 riders (zset; likewise)  3 requests (stream)  4 attempts (hash)
--      5 retry pool (zset)  6 cancels (set)  7 walk (hash)  8 ledger (hash)  9 ledgers (zset)  10 undelivered (list)
--      11 the lane's dead letters (hash)  12 all dead letters by time (zset)  13 the day's ledger (hash)  14 days (zset)
--      15 unread (zset)
-- ARGV 1 fence, or '' without a batch  2 now (ms)  3 reply queues expire after (s)  4 ledger name  5 route
--      6 bucket bounds (s, ascending, comma separated)  7 lease (ms) to renew
--      8 lane  9 name of the day's ledger  10 it is kept (s)  then 20 a reply: entry id, id window key, kind of queue ('list' or 'stream'), queue, default queue (list),
--      status, reply, own 0|1, input_uncached, cache_read, cache_write, output tokens, list, paid, saved (nano-dollars),
--      unpriced 0|1, deadline (ms) or '', attempts record (JSON) of a request given up on or '', cache saved, cache extra (nano-dollars)
-- Returns for each reply: 1 delivered, 2 delivered to the default queue (its own has another type), 3 kept in
--   `undelivered` (both have), 0 skipped. Errors, with nothing written: LEASELOST; BADCOUNT for a count that cannot be added up.
--@include carry
--@include counters
--@include day
--@include listed
--@include unread
local now, route, paired = tonumber(ARGV[2]), ARGV[5], ARGV[1] ~= ''
if paired and redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then
  return redis.error_reply('LEASELOST somebody else holds the lease on this batch')
end
-- So much a reply may bring of each count: sums of doubles are exact up to 2^53.
local most = 2 ^ 53 / math.max(1, (#ARGV - 10) / 20)
for at = 11, #ARGV, 20 do
  for _, k in ipairs({8, 9, 10, 11, 12, 13, 14, 15, 18, 19}) do
    local n = tonumber(ARGV[at + k])
    if not (n and n >= 0 and n <= most) then
      return redis.error_reply('BADCOUNT the reply to ' .. ARGV[at] .. ' counts ' .. ARGV[at + k])
    end
  end
end
local told, wrong = read_counters(KEYS[8])
local told_of_batch = {}
if told and paired then
  local names = {succeeded = 1, failed = 1, cancelled = 1, input_tokens = 1, output_tokens = 1, list_nano = 1, paid_nano = 1, saved_nano = 1}
  told_of_batch, wrong = read_counters(KEYS[1], names)
end
if wrong then
  return wrong
end
local bounds = {}
for bound in string.gmatch(ARGV[6], '[^,]+') do
  bounds[#bounds + 1] = tonumber(bound)
end
local submitted = paired and tonumber(redis.call('HGET', KEYS[1], 'submitted_ms') or 0) or 0
local cut = redis.call('HGET', KEYS[7], 'cut') or '0-0'
local ledger, sums = {}, {}
local expires, noted = clock_ms() + tonumber(ARGV[3]) * 1000, {}

local function add(to, field, n)
  to[field] = (to[field] or 0) + n
end

local function bucket(seconds)
  for i, bound in ipairs(bounds) do
    if seconds <= bound then
      return i - 1
    end
  end
  return #bounds
end

local function ours(entry)
  if paired then
    return carries(KEYS[1], KEYS[2], KEYS[4], entry)
  end
  return redis.call('ZSCORE', KEYS[5], entry) or beyond(entry, cut)
end

-- False where the queue has another type, or is a stream whose ids are used up: that must not stop the other replies.
local function push(kind, queue, reply, ends)
  local pushed
  if kind == 'stream' then
    pushed = redis.pcall('XADD', queue, '*', 'reply', reply)
  else
    pushed = redis.pcall('RPUSH', queue, reply)
  end
  if type(pushed) == 'table' and pushed.err then
    return false
  end
  redis.call('PEXPIREAT', queue, string.format('%.0f', ends))
  return true
end

local function push_unread(kind, queue, reply)
  if not push(kind, queue, reply, expires + LONGER_S * 1000) then
    return false
  end
  if not noted[queue] then
    note_unread(KEYS[15], queue, expires)
    noted[queue] = true
  end
  return true
end

-- Store the reply in its own queue, else in its default queue, else with what could not be delivered.
local function deliver(kind, queue, default, reply)
  if push_unread(kind, queue, reply) then
    return kind, 1
  elseif push_unread('list', default, reply) then
    return 'list', 2
  end
  push('list', KEYS[10], reply, expires)
  return 'list', 3
end

-- The letter keeps the id window too, so that a redrive can open it again: {attempts record, window (ms) or '', fields}.
local function bury(entry, fields, record, id_key)
  local window = redis.pcall('GET', id_key)
  local ms = ''
  if type(window) == 'string' and string.match(window, '^[^:]+') == entry then
    ms = string.match(window, ':(%d+)$')
  end
  redis.call('HSET', KEYS[11], entry, cmsgpack.pack(record, ms, fields))
  redis.call('ZADD', KEYS[12], now, entry .. '|' .. ARGV[8])
end

local function forget(entry, id_key)
  redis.call('XDEL', KEYS[3], entry)
  redis.call('HDEL', KEYS[4], entry)
  redis.call('ZREM', KEYS[5], entry)
  redis.call('SREM', KEYS[6], entry)
  if paired then
    redis.call('ZREM', KEYS[2], entry)
  end
  local window = redis.pcall('GET', id_key)
  if type(window) == 'string' and string.match(window, '^[^:]+') == entry then
    redis.call('PEXPIRE', id_key, string.match(window, ':(%d+)$'))
  end
end

local function account_for(at, entry, status)
  add(ledger, 'settled:' .. status .. ':' .. route, 1)
  add(sums, status, 1)
  local kinds = {'input_uncached', 'cache_read', 'cache_write', 'output'}
  for k, kind in ipairs(kinds) do
    add(ledger, 'tokens:' .. kind, tonumber(ARGV[at + 7 + k]))
  end
  add(sums, 'input_tokens', ARGV[at + 8] + ARGV[at + 9] + ARGV[at + 10])
  add(sums, 'output_tokens', tonumber(ARGV[at + 11]))
  for k, kind in ipairs({'list_nano', 'paid_nano', 'saved_nano'}) do
    add(ledger, kind .. ':' .. route, tonumber(ARGV[at + 11 + k]))
    add(sums, kind, tonumber(ARGV[at + 11 + k]))
  end
  add(ledger, 'unpriced', tonumber(ARGV[at + 15]))
  add(ledger, 'cache_saved_nano:' .. route, tonumber(ARGV[at + 18]))
  add(ledger, 'cache_extra_nano:' .. route, tonumber(ARGV[at + 19]))
  local enqueued = parts(entry)
  add(ledger, 'latency:' .. route .. ':' .. bucket((now - enqueued) / 1000), 1)
  add(ledger, 'latency_ms:' .. route, math.max(0, now - enqueued))
  if submitted > 0 then
    add(ledger, 'queue:' .. bucket((submitted - enqueued) / 1000), 1)
    add(ledger, 'queue_ms', math.max(0, submitted - enqueued))
  end
  local deadline = ARGV[at + 16]
  if deadline ~= '' then
    add(ledger, (now <= tonumber(deadline) and 'deadlines_met:' or 'deadlines_missed:') .. route, 1)
  end
end

local codes = {}
for at = 11, #ARGV, 20 do
  local entry, status = ARGV[at], ARGV[at + 5]
  local code = 0
  local owed = redis.call('XRANGE', KEYS[3], entry, entry)[1]
  if owed and (ARGV[at + 7] == '0' or ours(entry)) then
    local kind
    kind, code = deliver(ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 6])
    if ARGV[at + 17] ~= '' then
      bury(entry, owed[2], ARGV[at + 17], ARGV[at + 1])
    end
    forget(entry, ARGV[at + 1])
    account_for(at, entry, status)
    add(ledger, 'callbacks:' .. kind .. ':' .. (code == 1 and 'delivered' or code == 2 and 'default' or 'undelivered'), 1)
  end
  codes[#codes + 1] = code
end

for field, n in pairs(ledger) do
  if n > 0 then
    grow(KEYS[8], told, field, n)
  end
end
list_ledger(KEYS[9], ARGV[4], now)
if paired then
  for field, n in pairs(sums) do
    grow(KEYS[1], told_of_batch, field, n)
  end
  local clock = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'lease_until', clock[1] * 1000 + math.floor(clock[2] / 1000) + tonumber(ARGV[7]))
end
add_to_day(KEYS[13], KEYS[14], ARGV[9], now, ARGV[10], ledger)
return codes
