-- Takes up to ARGV[1] messages from several queues and records them as reserved, in one step.
-- KEYS: unacked, unacked_index, leases, unreadable; each queue's delayed set; then all queues'
--       lists at the first step, all at the second, and so on.
-- ARGV: max, lease (s), name of this pop, number of queues, steps as "0,3,6", order of the queues
--       ("": all by turns, step after step; "strict": each until it is empty; or numbers of queues
--       as "1,2,1"), then each queue's name as a JSON string.
-- Reply: per run of messages from one list: number of the queue, key of the list, and by turns lease
--        member and stored text.
local unacked, index, leases, unreadable = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local max, lease, pop = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local queues = tonumber(ARGV[4])
local steps = {}
for step in string.gmatch(ARGV[5], '%d+') do steps[#steps + 1] = tonumber(step) end
local function list(queue, step) return KEYS[4 + queues * step + queue] end

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local now_text = string.format('%.6f', now)
-- Whole seconds, which sorted sets compare several times as fast; kombu restores by it after an hour.
local seen = string.format('%.0f', math.ceil(now))
local expiry = string.format('%.0f', 1000 * (now + lease))

for queue = 1, queues do
  local due = redis.call('ZRANGEBYSCORE', KEYS[4 + queue], '-inf', now_text, 'LIMIT', 0, 100)
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

-- What is no place for messages is an error while nothing has been taken yet.
redis.call('HLEN', unacked)
redis.call('ZCARD', index)
redis.call('ZCARD', leases)
redis.call('HLEN', unreadable)

local byte, find = string.byte, string.find
local count = 0
local raws, queue_of, key_of = {}, {}, {}
local function reserve(queue, key, raw)
  count = count + 1
  raws[count], queue_of[count], key_of[count] = raw, queue, key
end

-- What is no list is empty while others bring messages: an error now would lose those.
local failed
local function popped(key, ...)
  local reply = redis.pcall('RPOP', key, ...)
  if type(reply) == 'table' and reply.err then
    failed = failed or reply
    return false
  end
  return reply
end

local function take(queue, step)
  local key = list(queue, step)
  local raw = popped(key)
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
      for _, raw in ipairs(popped(key, max - count) or {}) do reserve(1, key, raw) end
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
if count == 0 and failed then return failed end

-- Whether Python could restore it. Every client writes the tag last.
local TAG = '"delivery_tag"'
local function is_envelope(raw)
  return byte(raw) == 123 and byte(raw, -1) == 125
    and (find(raw, TAG, -160, true) or find(raw, TAG, 1, true))
end

local tails = {}
for queue = 1, queues do tails[queue] = ',"",' .. ARGV[6 + queue] .. ']' end
local values, scores, expiries, runs, run = {}, {}, {}, {}, {}
local owned = 0
for i = 1, count do
  local raw, key, queue = raws[i], key_of[i], queue_of[i]
  -- A place of its own, even beside another copy of the same message.
  local member = i .. '.' .. pop
  if is_envelope(raw) then
    owned = owned + 1
    values[2 * owned - 1], values[2 * owned] = member, '[' .. raw .. tails[queue]
    scores[2 * owned - 1], scores[2 * owned] = seen, member
  else
    member = '!' .. member
    redis.call('HSET', unreadable, member, #key .. ':' .. key .. raw)
  end
  expiries[2 * i - 1], expiries[2 * i] = expiry, member
  if run[1] ~= queue or run[2] ~= key then
    run = { queue, key, {} }
    runs[#runs + 1] = run
  end
  local taken = run[3]
  taken[#taken + 1] = member
  taken[#taken + 1] = raw
end
if owned > 0 then
  redis.call('HSET', unacked, unpack(values))
  redis.call('ZADD', index, unpack(scores))
end
if count > 0 then redis.call('ZADD', leases, unpack(expiries)) end
return runs
