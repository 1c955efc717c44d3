package explain

// sendHome returns what would move a Pod from the cloud to a local node.
func (s *subject) sendHome() []Change { return nil }
