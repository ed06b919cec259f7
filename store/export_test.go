package store

// Held counts the keys that m has in memory, expired ones included.
func (m *Memory) Held() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}

// Watches counts the keys that are watched.
func (m *Memory) Watches() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.watches)
}
