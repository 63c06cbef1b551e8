//go:build !weft_notap

package engine

// tapped tells whether packets can be traced. The build tag weft_notap takes the
// tap out, so that its cost can be measured (see perf); no other use is meant.
const tapped = true
