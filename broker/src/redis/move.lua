-- Moves reserved messages somewhere else, in one step with the end of their reservations.
-- KEYS: unacked, unacked_index, leases, unreadable, then target keys.
-- ARGV: per message: lease member, how (next: right end, last: left end, at: sorted set), number of
--       its target key, due time in seconds (at), text, channel to wake ("" for none).
-- Reply: per message 1, or 0 when the lease is gone.
local members = {}
for i = 1, #ARGV, 6 do members[#members + 1] = ARGV[i] end
local expiries = redis.call('ZMSCORE', KEYS[3], unpack(members))
local reply, seen, held, owned, strange = {}, {}, {}, {}, {}
for i, member in ipairs(members) do
  reply[i] = expiries[i] and not seen[member] and 1 or 0
  seen[member] = true
  if reply[i] == 1 then
    held[#held + 1] = member
    if string.byte(member) == 33 then
      strange[#strange + 1] = member
    else
      owned[#owned + 1] = member
    end
  end
end
-- First of all a command that a server which is out of memory does not refuse: after it none is refused.
if #held > 0 then redis.call('ZREM', KEYS[3], unpack(held)) end
if #owned > 0 then
  redis.call('HDEL', KEYS[1], unpack(owned))
  redis.call('ZREM', KEYS[2], unpack(owned))
end
if #strange > 0 then redis.call('HDEL', KEYS[4], unpack(strange)) end

-- Neighbours for the same end of the same list go there together, in their order.
local command, target, texts = '', '', {}
local function flush()
  if #texts > 0 then redis.call(command, target, unpack(texts)) end
  texts = {}
end
local woken = {}
for i = 1, #members do
  if reply[i] == 1 then
    local at = 6 * i - 5
    local how, key, text, channel = ARGV[at + 1], KEYS[4 + tonumber(ARGV[at + 2])], ARGV[at + 4], ARGV[at + 5]
    if how == 'at' then
      redis.call('ZADD', key, ARGV[at + 3], text)
    else
      local push = how == 'next' and 'RPUSH' or 'LPUSH'
      if push ~= command or key ~= target then
        flush()
        command, target = push, key
      end
      texts[#texts + 1] = text
    end
    if channel ~= '' then woken[channel] = true end
  end
end
flush()
for channel in pairs(woken) do redis.call('PUBLISH', channel, '') end
return reply
