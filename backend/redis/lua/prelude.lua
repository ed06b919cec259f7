-- What every script begins with. ARGV[1] is the prefix of all keys.
local prefix = ARGV[1]
local call = redis.call

-- now is the server's clock in milliseconds: those of the workers may differ.
local function now()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function ready(queue) return prefix .. 'queue:' .. queue end
local function running(queue) return prefix .. 'gofer:running:' .. queue end
local function leases(queue) return prefix .. 'gofer:leases:' .. queue end
local function later(queue) return prefix .. 'gofer:later:' .. queue end
local function landing(instance, queue) return prefix .. 'gofer:landing:' .. instance .. ':' .. queue end

-- expect notes that something happens at a time: 's' a scheduled job of the
-- queue is due, 'l' a lease in it ends. It wakes a clock when the one that has
-- promised to look would come too late.
local function expect(what, queue, at)
  call('ZADD', prefix .. 'gofer:due', 'LT', at, what .. queue)
  local promised = call('GET', prefix .. 'gofer:alarm')
  if not promised or tonumber(string.match(promised, '^%d+')) > at then
    call('LPUSH', prefix .. 'gofer:wake', at)
    call('LTRIM', prefix .. 'gofer:wake', 0, 0)
  end
end

-- reindex notes when the next thing of a queue happens, now that some have.
local function reindex(what, queue, key)
  local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if first[2] then
    call('ZADD', prefix .. 'gofer:due', first[2], what .. queue)
  else
    call('ZREM', prefix .. 'gofer:due', what .. queue)
  end
end

-- back returns what has landed with an instance to the head of its queue.
local function back(instance, queue)
  while call('LMOVE', landing(instance, queue), ready(queue), 'RIGHT', 'LEFT') do end
end

-- state tells of a token whether its lease is 'held', 'lost', or 'settled'
-- already. again says that the caller may have settled it in a call whose reply
-- it has not seen; leases that were lost are remembered for a while, so that
-- the two cannot be confused.
local function state(queue, token, again, at)
  local ends = call('ZSCORE', leases(queue), token)
  if ends then
    if tonumber(ends) > at then return 'held' end
    return 'lost'
  end
  if again and not call('ZSCORE', prefix .. 'gofer:lost', token) then return 'settled' end
  return 'lost'
end
