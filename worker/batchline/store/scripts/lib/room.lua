-- The account's open batches: B -> `requests:tokens:sent:pool|lane`; sent is '1' from the intent until the provider has ended
-- it. Sums are always made of these, so that nothing can drift.
local ROOM = '^(%d+):(%d+):([01]):([^|]*)|(.*)$'

local function room_entry(requests, tokens, sent, pool, lane)
  return string.format('%.0f:%.0f:%s:%s|%s', requests, tokens, sent, pool, lane)
end

-- The pool in which a lane counts now, by the account's budgets in their order: {pattern, the name of the pool that all that match
-- share, or '', whether it is held against the lane's whole name and not the model's}.
local function pool_now(lane, rules)
  local model = string.match(lane, '^[^:]*:[^:]*:([^|]*)') or ''
  for _, rule in ipairs(rules) do
    if string.match(rule[3] and lane or model, rule[1]) then
      return rule[2] ~= '' and rule[2] or model
    end
  end
  return model
end

-- Whether a lane may count in a pool: cheap, and never wrongly no. `leading`: the patterns of the rules that lead to that pool.
local function may_be_in(lane, pool, leading)
  for _, pattern in ipairs(leading) do
    if string.match(lane, pattern) then
      return true
    end
  end
  return string.match(lane, '^[^:]*:[^:]*:([^|]*)') == pool
end

local function leading_to(pool, rules)
  local leading = {}
  for _, rule in ipairs(rules or {}) do
    if rule[2] == pool then
      leading[#leading + 1] = rule[3] and rule[1] or '^[^:]*:[^:]*:' .. string.sub(rule[1], 2, -2)
    end
  end
  return leading
end

-- What a pool has in use, apart from one batch: all of it, or only what was sent, each batch and together; and whether the
-- lane has anything open. Of the whole account `sent` batches are at the provider; of this pool `waiting` ones are not, and
-- keep room, while `resting` ones have given theirs back until they are looked at again; `own` are the lane's that are not sent,
-- `elsewhere` the ids of those of other pools.
-- `rules` (JSON, as of `pool_now`) may have changed since a batch was cut; without these it counts where it did then.
local function room_used(key, pool, lane, except, only_sent, rules)
  local used = {requests = 0, tokens = 0, batches = 0, lane = false, all = {}, sent = 0, waiting = 0, resting = 0, own = 0, elsewhere = {}}
  local open, known = redis.call('HGETALL', key), (rules or '') ~= '' and cjson.decode(rules)
  local leading = leading_to(pool, known)
  for i = 1, #open, 2 do
    local requests, tokens, sent, of_pool, of_lane = string.match(open[i + 1], ROOM)
    if open[i] ~= except then
      if known then
        of_pool = may_be_in(of_lane, pool, leading) and pool_now(of_lane, known) or ''
      end
      if sent == '1' then
        used.sent = used.sent + 1
      elseif of_pool == pool then
        local kind = requests == '0' and 'resting' or 'waiting'
        used[kind] = used[kind] + 1
      else
        used.elsewhere[#used.elsewhere + 1] = open[i]
      end
      used.own = used.own + (sent == '0' and of_lane == lane and 1 or 0)
      if of_pool == pool and (sent == '1' or not only_sent) then
        used.requests, used.tokens = used.requests + requests, used.tokens + tokens
        used.batches, used.lane = used.batches + 1, used.lane or of_lane == lane
        used.all[#used.all + 1] = {requests = tonumber(requests), tokens = tonumber(tokens)}
      end
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

-- Whether nothing more may be created on an account now: in the hour so many creates were used, or its provider said so
-- (field `creates` of what is believed: until when, ms).
local function creates_full(creates, believed, most, now)
  if tonumber(now) < tonumber(redis.call('HGET', believed, 'creates') or 0) then
    return true
  end
  return redis.call('ZCOUNT', creates, tonumber(now) - 3600000, '+inf') >= tonumber(most)
end

-- What one batch may take of a limit, so that a lane fills its budget with whole batches.
local function part(limit, sliver, parts)
  return limit > 0 and math.max(1, math.floor(limit * (1 - sliver) / parts)) or math.huge
end

-- What a batch of so many requests and tokens takes of a budget: no more than its part, since the rest becomes a batch of its
-- own; but one request alone is sent as it is.
local function part_wanted(requests, tokens, limits, sliver, parts)
  local most = requests > 1 and part(limits.tokens, sliver, parts) or math.huge
  return {requests = math.min(requests, part(limits.requests, sliver, parts)), tokens = math.min(tokens, most)}
end
