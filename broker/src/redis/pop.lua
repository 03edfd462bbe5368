-- Takes up to ARGV[1] messages from several queues and records them as reserved, in one step.
-- KEYS: unacked, unacked_index, leases, unreadable; each queue's delayed set; then all queues'
--       lists at the first step, all at the second, and so on.
-- ARGV: max, lease (s), name of this pop, number of queues, steps as "0,3,6", order of the queues
--       ("": all by turns, step after step; "strict": each until it is empty; or numbers of queues
--       as "1,2,1"), then each queue's name as a JSON string.
-- Reply: flat list of queue number, list key, lease member, stored text.
local unacked, index, leases, unreadable = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local max, lease, pop = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local queues = tonumber(ARGV[4])
local steps = {}
for step in string.gmatch(ARGV[5], '%d+') do steps[#steps + 1] = tonumber(step) end
local function list(queue, step) return KEYS[4 + queues * step + queue] end

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local seen = string.format('%.6f', now)
local expiry = string.format('%.6f', now + lease)

for queue = 1, queues do
  local due = redis.call('ZRANGEBYSCORE', KEYS[4 + queue], '-inf', seen, 'LIMIT', 0, 100)
  for _, raw in ipairs(due) do
    local target = 1
    local ok, envelope = pcall(cjson.decode, raw)
    local priority = ok and type(envelope) == 'table' and type(envelope.properties) == 'table'
      and tonumber(envelope.properties.priority) or 0
    for step = 1, #steps do if steps[step] <= priority then target = step end end
    redis.call('LPUSH', list(queue, target), raw)
    redis.call('ZREM', KEYS[4 + queue], raw)
  end
end

local taken, scores, expiries = {}, {}, {}
local count = 0
local function reserve(queue, key, raw)
  count = count + 1
  local tag
  if string.sub(raw, 1, 1) == '{' and string.sub(raw, -1) == '}' then
    -- The last one, in plain ASCII, as every client writes it: a tag is a name here, and `!` begins those
    -- of our own. A look at the end first spares reading a long message twice.
    -- Anchored: where there is no tag it would else be looked for anew from each byte.
    local pattern = '^.*"delivery_tag"%s*:%s*"([^"|!%c\128-\255]+)"'
    tag = string.match(string.sub(raw, -160), pattern) or string.match(raw, pattern)
  end
  if tag then
    local value = '[' .. raw .. ',"",' .. ARGV[6 + queue] .. ']'
    if redis.call('HSETNX', unacked, tag, value) == 0 then
      -- A second copy of a message that is in flight: it needs a place of its own.
      tag = tag .. '.' .. pop .. '.' .. count
      redis.call('HSET', unacked, tag, value)
    end
    scores[#scores + 1] = seen
    scores[#scores + 1] = tag
  else
    tag = '!' .. pop .. '.' .. count
    redis.call('HSET', unreadable, tag, #key .. ':' .. key .. raw)
  end
  local member = tag .. '|' .. pop .. '.' .. count
  expiries[#expiries + 1] = expiry
  expiries[#expiries + 1] = member
  taken[#taken + 1] = queue
  taken[#taken + 1] = key
  taken[#taken + 1] = member
  taken[#taken + 1] = raw
end

local function take(queue, step)
  local key = list(queue, step)
  local raw = redis.call('RPOP', key)
  if raw then reserve(queue, key, raw) end
  return raw
end
-- The message of a queue that is to be served next.
local function take_first(queue)
  for step = 1, #steps do
    if take(queue, step) then return true end
  end
  return false
end

-- One queue: a step's messages in one command.
local function alone()
  for step = 1, #steps do
    if count < max then
      local key = list(1, step)
      for _, raw in ipairs(redis.call('RPOP', key, max - count) or {}) do reserve(1, key, raw) end
    end
  end
end

local function by_priorities()
  for step = 1, #steps do
    local empty = {}
    local left = queues
    while left > 0 and count < max do
      for queue = 1, queues do
        if not empty[queue] and count < max and not take(queue, step) then
          empty[queue] = true
          left = left - 1
        end
      end
    end
  end
end

local function strictly()
  for queue = 1, queues do
    while count < max and take_first(queue) do end
  end
end

local function by_turns(turns)
  local empty = {}
  local left = queues
  local turn = 0
  while left > 0 and count < max do
    turn = turn % #turns + 1
    local queue = turns[turn]
    if not empty[queue] and not take_first(queue) then
      empty[queue] = true
      left = left - 1
    end
  end
end

if queues == 1 then
  alone()
elseif ARGV[6] == '' then
  by_priorities()
elseif ARGV[6] == 'strict' then
  strictly()
else
  local turns = {}
  for turn in string.gmatch(ARGV[6], '%d+') do turns[#turns + 1] = tonumber(turn) end
  by_turns(turns)
end
if #scores > 0 then redis.call('ZADD', index, unpack(scores)) end
if #expiries > 0 then redis.call('ZADD', leases, unpack(expiries)) end
return taken
