package engine

import "errors"

// Why a lease is not used as a peer.
var (
	errNoAddress = errors.New("the lease names no public address")
	errNoPort    = errors.New("the lease's public address is of a family that this node does not use")
)
