package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Clock returns how far etcd's clock is ahead of ours, behind if less than 0, to
// half a second: that is how finely the Date header of an HTTP answer tells it
// (RFC 9110 section 6.6.1). The first endpoint that answers is believed. Leases
// do not depend on clocks, since etcd counts their time itself; but certificates,
// logs and whoever reads them do.
func (s *Store) Clock(ctx context.Context) (ahead time.Duration, err error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.tls, DisableKeepAlives: true}, Timeout: s.timeout}
	var errs []error
	for _, endpoint := range s.opt.Endpoints {
		ahead, err := clockOf(ctx, client, endpoint+"/version")
		if err == nil {
			return ahead, nil
		}
		errs = append(errs, err)
	}
	return 0, fmt.Errorf("clock of etcd: %w", errors.Join(errs...))
}

// clockOf asks one server.
func clockOf(ctx context.Context, client *http.Client, url string) (ahead time.Duration, err error) {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	before := time.Now()
	answer, err := client.Do(ask)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	now := time.Now()
	date, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return 0, fmt.Errorf("%s: Date: %q: %w", url, answer.Header.Get("Date"), err)
	}
	// The header tells the second that had begun.
	return date.Add(time.Second / 2).Sub(before.Add(now.Sub(before) / 2)), nil
}
