#!lua flags=allow-oom
-- Dead letters become new entries of their lane: the same fields, no attempt used up. An id window that no other entry
-- has taken since is theirs again. Moves about 2 MB in a call, one letter at least. What is no dead letter (any more) is skipped.
-- KEYS 1 the lane's dead letters (hash)  2 all dead letters by time (zset)  3 requests (stream)  4 lanes (set)
-- ARGV 1 lane  2 prefix of the lane's id windows  3 most bytes to move in this call  4.. entry ids
-- Derived keys: the id window of each request.
-- Returns for each entry looked at its new entry id, or '' (skipped); ask again for the rest.
local moved, left = {}, tonumber(ARGV[3])

local function open_window(fields, ms, old, new)
  for j = 1, #fields, 2 do
    if fields[j] == 'id' then
      local key = ARGV[2] .. fields[j + 1]
      local window = redis.pcall('GET', key)
      if not window or (type(window) == 'string' and string.match(window, '^[^:]+') == old) then
        redis.call('SET', key, new .. ':' .. ms)
      end
      return
    end
  end
end

for i = 4, #ARGV do
  local letter = redis.call('HGET', KEYS[1], ARGV[i])
  moved[i - 3] = ''
  redis.call('ZREM', KEYS[2], ARGV[i] .. '|' .. ARGV[1])
  if letter then
    local _, ms, fields = cmsgpack.unpack(letter)
    local new = redis.call('XADD', KEYS[3], '*', unpack(fields))
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('SADD', KEYS[4], ARGV[1])
    if ms ~= '' then
      open_window(fields, ms, ARGV[i], new)
    end
    moved[i - 3] = new
    left = left - #letter
    if left <= 0 then
      break
    end
  end
end
return moved
