-- Removes reserved messages for good.
-- KEYS: unacked, unacked_index, leases, unreadable. ARGV: lease members.
-- Reply: per member 1, or 0 when the lease is gone (someone else has the message now).
local byte = string.byte
local owned, strange, reply = {}, {}, {}
local count = 0
local expiries = redis.call('ZMSCORE', KEYS[3], unpack(ARGV))
redis.call('ZREM', KEYS[3], unpack(ARGV))
for i, member in ipairs(ARGV) do
  reply[i] = expiries[i] and 1 or 0
  if not expiries[i] then
    -- Not ours to remove.
  elseif byte(member) == 33 then
    strange[#strange + 1] = member
  else
    count = count + 1
    owned[count] = member
  end
end
if count > 0 then
  redis.call('HDEL', KEYS[1], unpack(owned))
  redis.call('ZREM', KEYS[2], unpack(owned))
end
if #strange > 0 then redis.call('HDEL', KEYS[4], unpack(strange)) end
return reply
