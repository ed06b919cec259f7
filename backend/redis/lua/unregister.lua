-- unregister forgets a worker that has said goodbye or died, and returns what
-- has landed with it to the queues.
--
-- ARGV: prefix, instance, haunt in milliseconds.
--
-- A worker that seems dead may only be stopped, and its connections still be
-- served by Redis: for as long as haunt its landing lists are looked at once
-- more. With 0 it says goodbye itself.
--
-- Returns the ids of its waiting connections, to be closed, one a line.
local instance, haunt, at = ARGV[2], tonumber(ARGV[3]), now()
local workers, record = prefix .. 'gofer:workers', prefix .. 'gofer:worker:' .. instance
if haunt > 0 then
  local ends = call('ZSCORE', workers, instance)
  if not ends or tonumber(ends) > at then return '' end -- it is alive after all
end
call('HDEL', running(''), '') -- a write that needs no memory comes first
local landings = prefix .. 'gofer:landings:' .. instance
for _, queue in ipairs(call('SMEMBERS', landings)) do back(instance, queue) end
local id, ghost, connections = unpack(call('HMGET', record, 'id', 'ghost', 'connections'))
if id then
  call('SREM', prefix .. 'workers', id)
  call('HDEL', prefix .. 'workers:heartbeat', id)
  call('DEL', prefix .. 'worker:' .. id, prefix .. 'worker:' .. id .. ':started',
    prefix .. 'stat:processed:' .. id, prefix .. 'stat:failed:' .. id)
end
if haunt > 0 and not ghost then
  call('HSET', record, 'ghost', 1)
  call('ZADD', workers, at + haunt, instance)
else
  call('ZREM', workers, instance)
  call('DEL', record, landings, prefix .. 'gofer:wake:' .. instance)
  local alarm = prefix .. 'gofer:alarm'
  if string.match(call('GET', alarm) or '', ' (.*)$') == instance then call('DEL', alarm) end
  -- It may have promised to be there, or have been woken just now.
  call('LPUSH', prefix .. 'gofer:wake', at)
  call('LTRIM', prefix .. 'gofer:wake', 0, 0)
end
return connections or ''
