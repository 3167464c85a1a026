-- Whether a batch carries an entry: it is a rider, or it lies in the batch's range and never left it.
-- An entry id is `ms-sequence`, compared as two numbers.
local function parts(entry)
  local ms, sequence = string.match(entry, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(sequence)
end

local function beyond(a, b)
  local a_ms, a_sequence = parts(a)
  local b_ms, b_sequence = parts(b)
  return a_ms > b_ms or (a_ms == b_ms and a_sequence > b_sequence)
end

local function carries(batch, riders, attempts, entry)
  if redis.call('ZSCORE', riders, entry) then
    return true
  end
  local range = redis.call('HMGET', batch, 'after', 'last')
  return range[1] and beyond(entry, range[1]) and not beyond(entry, range[2])
    and redis.call('HEXISTS', attempts, entry) == 0
end
