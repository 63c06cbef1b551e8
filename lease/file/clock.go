package file

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A date is what the date of a file told of the clock that it is from.
type date struct {
	ahead time.Duration
	err   error // the date could not be read
}

// compare notes how far the clock that dates f is ahead of ours. f was written
// between two times of ours, and is on the disk.
func (s *Store) compare(f handle, began, ended time.Time) {
	info, err := f.Stat()
	if err != nil {
		s.date.Store(&date{err: err})
		return
	}
	s.date.Store(&date{ahead: info.ModTime().Sub(began.Add(ended.Sub(began) / 2))})
}

// Clock returns how far the clock of the file server is ahead of ours, behind if
// less than 0, when the own lease was last renewed: where the folder is on a
// server, it is the server that dates files. On a disk of this host there is no
// difference. Before the first renewal the error says so. Clock itself touches no
// file.
func (s *Store) Clock(context.Context) (ahead time.Duration, err error) {
	d := s.date.Load()
	if d == nil {
		return 0, errors.New("clock of the lease folder: the own lease was not renewed yet")
	}
	if d.err != nil {
		return 0, fmt.Errorf("clock of the lease folder: %w", d.err)
	}
	return d.ahead, nil
}
