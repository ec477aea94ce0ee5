package agenttest

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/stretchr/testify/require"
)

func TestRespond(t *testing.T) {
	e := startEndpoint(t, Options{})
	s := newSender(t, e)
	e.Respond(EmptyRing())
	for range 2 {
		require.EqualError(t, s.write(ts("a", 1, 1)), "server returned HTTP status 409 Conflict: 500-to-409: empty ring\n")
	}
	e.RespondNext(NginxError(502), Answer{Status: 503, Header: http.Header{"retry-after": {"7"}}})
	require.ErrorContains(t, s.write(ts("a", 1, 1)), "<title>502 Bad Gateway</title>")
	status, header, _ := post(t, e, e.URL(), nil, authorized())
	require.Equal(t, 503, status)
	require.Equal(t, "7", header.Get("Retry-After"))
	require.ErrorContains(t, s.write(ts("a", 1, 1)), "409")
	e.Recover()
	require.NoError(t, s.write(ts("a", 1, 1)))

	e.RespondFor(time.Hour, Answer{Status: 500})
	require.ErrorAs(t, s.write(ts("a", 2, 1)), new(remote.RecoverableError))
	e.RespondFor(0, Answer{Status: 500})
	require.NoError(t, s.write(ts("a", 2, 1)))

	snap := e.Snapshot()
	require.EqualValues(t, 2, snap.Accepted)
	require.Equal(t, map[int]Tally{409: {3, 3}, 502: {1, 1}, 503: {1, 0}, 200: {2, 2}, 500: {1, 1}}, snap.Answers)
	require.True(t, snap.Requests[0].Asked)
	require.False(t, snap.Requests[len(snap.Requests)-1].Asked)
	require.Empty(t, snap.Refused)
}

func TestRespondIf(t *testing.T) {
	e := startEndpoint(t, Options{})
	s := newSender(t, e)
	e.RespondIf(func(in *Incoming) *Answer {
		if in.Tenant == DefaultTenant && in.Version == "1.0" && in.Samples() == 1 && in.Write.Timeseries[0].Labels[0].Value == "b" {
			return &Answer{Status: 404}
		}
		return nil
	})
	require.NoError(t, s.write(ts("a", 1, 1)))
	require.ErrorContains(t, s.write(ts("b", 1, 1)), "404")
	require.NoError(t, s.write(ts("b", 1, 1), ts("c", 1, 1)))
	e.RespondIf(nil)
	require.NoError(t, s.write(ts("b", 2, 1)))
}

func TestStoredBehindAnError(t *testing.T) {
	e := startEndpoint(t, Options{})
	s := newSender(t, e)
	e.RespondNext(Answer{Status: 500, Store: true}, Answer{Reset: true, Store: true}, Answer{Reset: true})
	require.ErrorContains(t, s.write(ts("a", 1, 1)), "500")
	require.ErrorContains(t, s.write(ts("a", 2, 1)), "connection reset by peer")
	require.ErrorContains(t, s.write(ts("a", 3, 1)), "connection reset by peer")
	require.Equal(t, []float64{1, 1, 2, 1}, floats(t, e.Snapshot(), "a"))
	require.NoError(t, s.write(ts("a", 2, 1)))
	snap := e.Snapshot()
	require.EqualValues(t, 1, snap.Duplicates)
	require.Equal(t, map[int]Tally{500: {1, 1}, 0: {2, 2}, 200: {1, 1}}, snap.Answers)
}

func TestSlowAnswers(t *testing.T) {
	e := startEndpoint(t, Options{})
	impatient := newSender(t, e, func(c *remote.ClientConfig) { c.Timeout = model.Duration(50 * time.Millisecond) })
	e.RespondNext(Answer{Delay: time.Hour}, Answer{Linger: time.Hour})
	require.ErrorContains(t, impatient.write(ts("a", 1, 1)), "deadline exceeded")
	require.ErrorContains(t, impatient.write(ts("a", 2, 1)), "deadline exceeded")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, e.WaitFor(ctx, func(s *Snapshot) bool { return s.Answers[499].Requests == 2 }))
	require.Equal(t, []float64{2, 1}, floats(t, e.Snapshot(), "a"))

	e.RespondNext(Answer{Delay: 20 * time.Millisecond, Linger: 20 * time.Millisecond})
	start := time.Now()
	require.NoError(t, newSender(t, e).write(ts("a", 3, 1)))
	require.GreaterOrEqual(t, time.Since(start), 40*time.Millisecond)
}

func TestInFlight(t *testing.T) {
	e := startEndpoint(t, Options{})
	s := newSender(t, e)
	var together sync.WaitGroup
	together.Add(3)
	e.RespondIf(func(*Incoming) *Answer {
		together.Done()
		together.Wait()
		return nil
	})
	var senders sync.WaitGroup
	for range 3 {
		senders.Go(func() {
			if err := s.write(); err != nil {
				t.Error(err)
			}
		})
	}
	senders.Wait()
	require.Equal(t, 3, e.Snapshot().MaxInFlight)
}

func TestCloseDoesNotWaitForSlowAnswers(t *testing.T) {
	e := startEndpoint(t, Options{})
	s := newSender(t, e)
	begun := make(chan struct{})
	e.RespondIf(func(*Incoming) *Answer {
		close(begun)
		return &Answer{Delay: time.Hour}
	})
	answer := make(chan error, 1)
	go func() { answer <- s.write(ts("a", 1, 1)) }()
	<-begun
	e.Close()
	require.Error(t, <-answer)
	require.Zero(t, e.Snapshot().Accepted)
}
