-- The account's open batches: B -> `requests:tokens:sent:pool|lane`; sent is '1' from the intent until the provider has ended
-- it. Sums are always made of these, so that nothing can drift.
local ROOM = '^(%d+):(%d+):([01]):([^|]*)|(.*)$'
local ROOM_OF_OLD = '^(%d+):(%d+)$'

local function room_entry(requests, tokens, sent, pool, lane)
  return string.format('%.0f:%.0f:%s:%s|%s', requests, tokens, sent, pool, lane)
end

-- What a pool has in use, apart from one batch: all of it, or only what was sent, each batch and together; and whether the
-- lane has anything open.
local function room_used(key, pool, lane, except, only_sent)
  local used, open = {requests = 0, tokens = 0, batches = 0, lane = false, all = {}}, redis.call('HGETALL', key)
  for i = 1, #open, 2 do
    local requests, tokens, sent, of_pool, of_lane = string.match(open[i + 1], ROOM)
    if not requests then
      -- Of a version that did not know pools: it counts everywhere until its batch has ended.
      requests, tokens = string.match(open[i + 1], ROOM_OF_OLD)
      sent, of_pool = '1', pool
    end
    if requests and open[i] ~= except and of_pool == pool and (sent == '1' or not only_sent) then
      used.requests, used.tokens = used.requests + requests, used.tokens + tokens
      used.batches, used.lane = used.batches + 1, used.lane or of_lane == lane
      used.all[#used.all + 1] = {requests = tonumber(requests), tokens = tonumber(tokens)}
    end
  end
  return used
end

-- The limits of a pool, 0 for none: what is configured, or for a while less, where the provider took less.
-- Believed limits are `tokens:requests:until (ms)`: what the provider named (`told|pool`), and what was guessed.
local function room_limits(key, pool, tokens, requests, now)
  local limits = {tokens = tonumber(tokens), requests = tonumber(requests)}
  for _, believed in ipairs(redis.call('HMGET', key, 'told|' .. pool, 'guess|' .. pool)) do
    local less_tokens, less_requests, till = string.match(believed or '', '^(%d+):(%d+):(%d+)$')
    if till and tonumber(till) > tonumber(now) then
      for unit, less in pairs({tokens = tonumber(less_tokens), requests = tonumber(less_requests)}) do
        if less > 0 and (limits[unit] == 0 or less < limits[unit]) then
          limits[unit] = less
        end
      end
    end
  end
  return limits
end

-- Which limit has no room for so much more, or nil. What is empty takes a batch of any size: what is too large alone, only
-- the provider can say. All together may fill a budget but for a sliver; that takes batches no larger than itself.
local function no_room(used, limits, requests, tokens, sliver, may_squeeze, must_squeeze)
  if used.batches == 0 then
    return nil
  end
  for unit, more in pairs({tokens = tokens, requests = requests}) do
    local limit = limits[unit]
    if limit > 0 and (must_squeeze or used[unit] + more > limit * (1 - sliver)) then
      local small = may_squeeze and 0 or math.huge
      for _, batch in ipairs(used.all) do
        small = small + (batch[unit] <= limit * sliver and batch[unit] or 0)
      end
      if small + more > limit * sliver or used[unit] + more > limit then
        return unit
      end
    end
  end
  return nil
end

-- What one batch may take of a limit, so that a lane fills its budget with whole batches.
local function part(limit, sliver, parts)
  return limit > 0 and math.max(1, math.floor(limit * (1 - sliver) / parts)) or math.huge
end

local function mark_sent(key, id, sent)
  local entry = redis.call('HGET', key, id)
  if entry then
    redis.call('HSET', key, id, (string.gsub(entry, '^(%d+:%d+):[01]', '%1:' .. sent)))
  end
end
