#!lua flags=allow-oom
-- Remove lanes that are empty, idle and carried by nothing, each with its stream and its walk, so that a later stream of
-- that name begins before a cursor of its own and is walked whole. What it ever took in is added to the ledger.
-- A lane is kept while anything could still be meant by one of its entry ids: that is looked at here, not by the caller.
-- KEYS 1 lanes  2 lanes set aside (sets)  3 agenda of accumulate  4 agenda of poll (zsets)  5 ledgers (zset)
-- ARGV 1 idle before (ms): the last entry is older  2 now (ms)  3 '1' to remove, '' to look only  4 most open batches to look at
--      5 prefix of the ledgers  6 prefix of the batches  then 2 a lane: its name, the name of its ledger
-- Derived keys: batchline:{lane}:requests, :walk, :retry, :attempts, :cancels, :dead of each lane, its ledger, and every open batch.
-- Returns a word for each lane: 'pruned' (or would be), 'gone' (there is none), or why not: 'owed' (it has entries), 'recent',
--   'open' (its open range is to be cut), 'traces' (retries, attempts or cancels), 'dead' (dead letters), 'batch' (an unsettled
--   batch is of it), 'busy' (too many batches are open to tell), 'broken' (a key has another type).
--@include listed
local before, now, really = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1'
local of_batches = {}
local busy = redis.call('ZCARD', KEYS[3]) + redis.call('ZCARD', KEYS[4]) > tonumber(ARGV[4])
for i = 3, busy and 2 or 4 do
  for _, id in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
    of_batches[redis.call('HGET', ARGV[6] .. id, 'lane') or ''] = true
  end
end

local function is(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == 'none' or found == kind
end

local function stream(key)
  local found = {length = 0, ['last-generated-id'] = '0-0', ['entries-added'] = 0}
  if redis.call('EXISTS', key) == 1 then
    local info = redis.call('XINFO', 'STREAM', key)
    for i = 1, #info, 2 do
      found[info[i]] = info[i + 1]
    end
  end
  return found
end

local function why_not(lane, base, info)
  if info.length > 0 then
    return 'owed'
  elseif tonumber(string.match(info['last-generated-id'], '^%d+')) >= before then
    return 'recent'
  elseif (redis.call('HGET', base .. 'walk', 'requests') or '0') ~= '0' then
    return 'open'
  elseif redis.call('EXISTS', base .. 'retry', base .. 'attempts', base .. 'cancels') > 0 then
    return 'traces'
  elseif redis.call('EXISTS', base .. 'dead') == 1 then
    return 'dead'
  elseif busy then
    return 'busy'
  end
  return of_batches[lane] and 'batch'
end

local function prune(lane, ledger)
  local base = 'batchline:{' .. lane .. '}:'
  if not (is(base .. 'requests', 'stream') and is(base .. 'walk', 'hash') and is(ARGV[5] .. ledger, 'hash')) then
    return 'broken'
  end
  local known = redis.call('SISMEMBER', KEYS[1], lane) + redis.call('SISMEMBER', KEYS[2], lane)
  if known + redis.call('EXISTS', base .. 'requests', base .. 'walk') == 0 then
    return 'gone'
  end
  local info = stream(base .. 'requests')
  local kept = why_not(lane, base, info)
  if kept then
    return kept
  end
  if really then
    if info['entries-added'] > 0 then
      redis.call('HINCRBY', ARGV[5] .. ledger, 'enqueued_pruned', info['entries-added'])
      list_ledger(KEYS[5], ledger, now)
    end
    redis.call('SREM', KEYS[1], lane)
    redis.call('SREM', KEYS[2], lane)
    redis.call('DEL', base .. 'requests', base .. 'walk')
  end
  return 'pruned'
end

local words = {}
for i = 7, #ARGV, 2 do
  words[#words + 1] = prune(ARGV[i], ARGV[i + 1])
end
return words
