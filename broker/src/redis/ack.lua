-- Removes reserved messages for good.
-- KEYS: unacked, unacked_index, leases, unreadable. ARGV: lease members.
-- Reply: per member 1, or 0 when the lease is gone (someone else has the message now).
local byte, find, sub = string.byte, string.find, string.sub
local owned, strange, reply, seen = {}, {}, {}, {}
local count = 0
local expiries = redis.call('ZMSCORE', KEYS[3], unpack(ARGV))
redis.call('ZREM', KEYS[3], unpack(ARGV))
for i, member in ipairs(ARGV) do
  if expiries[i] and not seen[member] then
    reply[i], seen[member] = 1, true
    local tag = sub(member, 1, find(member, '|', 1, true) - 1)
    if byte(tag) == 33 then
      strange[#strange + 1] = tag
    else
      count = count + 1
      owned[count] = tag
    end
  else
    reply[i] = 0
  end
end
if count > 0 then
  redis.call('HDEL', KEYS[1], unpack(owned))
  redis.call('ZREM', KEYS[2], unpack(owned))
end
if #strange > 0 then redis.call('HDEL', KEYS[4], unpack(strange)) end
return reply
