package uplink

// SessionsKept waits until no TLS session is on its way to the disk.
func (s *service) SessionsKept() {
	s.transports[0].TLSClientConfig.ClientSessionCache.(*sessions).writer.Wait()
}
