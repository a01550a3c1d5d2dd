package wsctlredis

// Renumber has the next publication get the number n.
func (b *Broker) Renumber(n uint64) { b.serial.Store(n - 1) }
