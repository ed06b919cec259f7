package rabbitmq

// isStill reports whether the broker sends nothing more at present. Else it will
// soon have sent all that it may.
func (l *line) isStill(ch *channel) bool {
	c := l.consumer
	c.mu.Lock()
	room := ch.room
	c.mu.Unlock()
	if room <= 0 {
		return true
	}
	found, err := ch.QueueDeclarePassive(l.queue, true, false, false, false, nil)
	if err != nil {
		l.failed(ch, err)
		return false
	}
	return found.Messages == 0
}

// goToRest ends the consumers and gives back what nobody has asked for.
func (l *line) goToRest(ch *channel) {
	c := l.consumer
	c.mu.Lock()
	_, hoards := l.hoards()
	l.resting = false
	c.mu.Unlock()
	if !hoards {
		return
	}
	ch.hold()
	still := l.isStill(ch) && l.cancel(ch)
	ch.flush()
	if !still {
		c.mu.Lock()
		l.mayRest()
		c.mu.Unlock()
		return
	}
	c.mu.Lock()
	if l.demand > 0 || l.channel != ch { // somebody asks after all
		l.wakeOne()
		c.mu.Unlock()
		return
	}
	unclaimed := l.free
	l.free = nil
	if len(unclaimed) > 0 {
		// The broker may take its time, or take no messages at all. When they are
		// settled the line comes to rest for good.
		c.backend.running.Go(func() { c.backend.giveBack(ch, unclaimed) })
	}
	unused := l.channel == ch && ch.unsettled == 0 && l.demand == 0
	if unused {
		l.channel = nil
		ch.lost.Store(true)
	}
	c.mu.Unlock()
	if unused {
		ch.Close()
	}
}

// retire is the rest of a line whose backend is being closed.
func (l *line) retire(ch *channel) {
	c := l.consumer
	for range 5 {
		if ch.lost.Load() || l.isStill(ch) {
			break
		}
		c.backend.pause(c.backend.life, passage)
	}
	ch.hold()
	l.cancel(ch)
	ch.flush()
	c.mu.Lock()
	unclaimed := l.free
	l.free, l.channel = nil, nil
	c.mu.Unlock()
	if !ch.lost.Load() {
		c.backend.giveBack(ch, unclaimed)
		ch.flush()
	}
}
