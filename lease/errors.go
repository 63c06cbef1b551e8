package lease

import (
	"errors"
	"time"
)

var (
	// ErrTaken says that another node holds the subnet that this node had.
	// Nothing may be sent from that subnet any more.
	ErrTaken = errors.New("the subnet is held by another node")

	// ErrNoSubnet says that every subnet of the network is taken, or that
	// the configuration leaves none to take.
	ErrNoSubnet = errors.New("no free subnet")
)

// A StoreStatus tells how the connection to a store is at this moment. Leases
// already known stay in force while a store is away.
type StoreStatus struct {
	Connected bool      // the last exchange with the store succeeded
	LastEvent time.Time // the last successful exchange; zero: none yet
	Err       string    // why Connected is false; "" when nothing was tried yet
	Rival     string    // that another process writes this node's lease, and who that may be; "": none was noticed
}
