-- settle ends attempts whose jobs stay: retried, released or buried.
--
-- ARGV: prefix, worker or '', count, then for each job: queue, again, token,
-- place, delay in milliseconds, unique name, queue to go to, payload or '' for
-- the one that is held.
--
-- The places: 'head' and 'tail' of the ready jobs, 'later' after the delay, and
-- 'dead', where the payload is an entry of the list failed.
--
-- Returns the positions, from 1, of the jobs whose lease is lost, of those that
-- could not go where they should and so are held as before, and why the last of
-- these could not.
local worker, at = ARGV[2], now()
local lost, stuck, why, known, dead, argument = {}, {}, '', {}, 0, 4
local function go(place, delay, unique, target, payload)
  if place == 'dead' then
    call('RPUSH', prefix .. 'failed', payload)
    dead = dead + 1
  elseif place == 'later' then
    call('ZADD', later(target), at + delay, unique .. '\n' .. payload)
    expect('s', target, at + delay)
  elseif place == 'head' then
    call('LPUSH', ready(target), payload)
  else
    call('RPUSH', ready(target), payload)
  end
end
for position = 1, tonumber(ARGV[3]) do
  local queue, again, token, place = ARGV[argument], ARGV[argument + 1] == '1', ARGV[argument + 2], ARGV[argument + 3]
  local delay, unique, target, payload = tonumber(ARGV[argument + 4]), ARGV[argument + 5], ARGV[argument + 6], ARGV[argument + 7]
  argument = argument + 8
  local held = state(queue, token, again, at)
  if held == 'lost' then
    lost[#lost + 1] = position
  elseif held == 'held' then
    if payload == '' then payload = call('HGET', running(queue), token) end
    -- First the new place, then the old one gone: should the second not
    -- come to pass, there are two and not none.
    call('ZREM', leases(queue), '')
    local done, failure = pcall(go, place, delay, unique, target, payload)
    if done then
      call('ZREM', leases(queue), token)
      call('HDEL', running(queue), token)
      if place ~= 'dead' and not known[target] then
        known[target] = true
        call('SADD', prefix .. 'queues', target)
      end
    else
      stuck[#stuck + 1] = position
      why = type(failure) == 'table' and failure.err or tostring(failure)
    end
  end
end
if dead > 0 then
  for _, name in ipairs({'processed', 'failed'}) do
    call('INCRBY', prefix .. 'stat:' .. name, dead)
    if worker ~= '' then call('INCRBY', prefix .. 'stat:' .. name .. ':' .. worker, dead) end
  end
end
return {lost, stuck, why}
