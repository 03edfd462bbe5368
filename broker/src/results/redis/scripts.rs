//! The Lua scripts of the redis driver. Each is one atomic step.
//!
//! An inbox is a list of `<tag>:<body>`; a reader's taken items are a hash tag → body; the zset of
//! readers has the millisecond (server time) at which each one's lease ends.

/// Appends bodies. Keys: list, tag counter. Arguments: wake channel, bodies.
pub(super) const SEND: &str = r"
local count = #ARGV - 1
local first = redis.call('INCRBY', KEYS[2], count) - count
for i = 1, count do
  redis.call('RPUSH', KEYS[1], string.format('%.0f:', first + i) .. ARGV[i + 1])
end
redis.call('PUBLISH', ARGV[1], count)
return count
";

/// Puts a reader's items back to the head of the list, in their old order, and forgets it.
const GIVE_BACK: &str = r"
local function give_back(list, readers, held, reader)
  local flat, items = redis.call('HGETALL', held), {}
  for i = 1, #flat, 2 do items[#items + 1] = { tonumber(flat[i]), flat[i] .. ':' .. flat[i + 1] } end
  table.sort(items, function(a, b) return a[1] > b[1] end)
  for _, item in ipairs(items) do redis.call('LPUSH', list, item[2]) end
  redis.call('DEL', held)
  redis.call('ZREM', readers, reader)
  return #items
end
local function now_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end
";

/// Renews the reader's lease, gives back what dead readers held, and takes items. Keys: list,
/// readers, the reader's hash. Arguments: reader, lease in ms, most items, most bytes, prefix of the
/// readers' hashes. Returns tag, body, tag, body, ….
const TAKE: &str = r"
local now = now_ms()
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[2]), ARGV[1])
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 16)) do
  give_back(KEYS[1], KEYS[2], ARGV[5] .. dead, dead)
end
local out, bytes = {}, 0
for _ = 1, tonumber(ARGV[3]) do
  local entry = redis.call('LPOP', KEYS[1])
  if not entry then break end
  local colon = string.find(entry, ':', 1, true)
  local tag, body = string.sub(entry, 1, colon - 1), string.sub(entry, colon + 1)
  redis.call('HSET', KEYS[3], tag, body)
  out[#out + 1] = tag
  out[#out + 1] = body
  bytes = bytes + #body
  if bytes >= tonumber(ARGV[4]) then break end
end
return out
";

/// Renews the lease of a reader that still has one. Keys: readers. Arguments: reader, lease in ms.
const RENEW: &str = r"
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  redis.call('ZADD', KEYS[1], now_ms() + tonumber(ARGV[2]), ARGV[1])
end
return 1
";

/// Ends a reader. Keys: list, readers, its hash. Arguments: reader, wake channel.
const RELEASE: &str = r"
if give_back(KEYS[1], KEYS[2], KEYS[3], ARGV[1]) > 0 then redis.call('PUBLISH', ARGV[2], 0) end
return 1
";

/// The scripts, hashed once.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) send: ::redis::Script,
    pub(super) take: ::redis::Script,
    pub(super) renew: ::redis::Script,
    pub(super) release: ::redis::Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let with_give_back = |code: &str| ::redis::Script::new(&[GIVE_BACK, code].concat());
        Self {
            send: ::redis::Script::new(SEND),
            take: with_give_back(TAKE),
            renew: with_give_back(RENEW),
            release: with_give_back(RELEASE),
        }
    }
}
