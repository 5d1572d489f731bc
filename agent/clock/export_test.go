package clock

// Keeping reports whether Run has begun.
func (c *Clock) Keeping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keeper
}
