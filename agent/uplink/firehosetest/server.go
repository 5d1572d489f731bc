package firehosetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"obdagent/agent/uplink"
)

// How much a stream buffers before it delivers an object, unless it says otherwise (CreateDeliveryStream, BufferingHints).
const (
	defaultSize     = 5 << 20
	defaultInterval = 300 * time.Second
)

// Options says what a Server knows and where it delivers. The zero value accepts any signature, has no stream and listens nowhere.
type Options struct {
	Addr    string   // where to listen, e.g. "127.0.0.1:0"; empty: in memory only, through Dial
	Region  string   // that requests must be signed for; empty: any
	Streams []Stream // that exist from the start

	// Credentials are the keys that are known. With none, a signature must have the right form but is not checked.
	Credentials []Credentials

	// Dir receives the objects under <bucket>/<key>. Deliver, if set, receives them instead.
	Dir     string
	Deliver func(bucket, key string, object []byte) error

	Now  func() time.Time // the server's clock, also in its Date headers; default: time.Now
	Seed uint64           // for random faults and record ids
	Log  *slog.Logger     // each call; default: discarded
}

// A Stream is a Direct PUT delivery stream to a bucket.
type Stream struct {
	Name     string        // 1 to 64 of [a-zA-Z0-9_.-]
	Bucket   string        // default: the stream's name
	Size     int           // bytes buffered before an object is delivered; default 5 MiB
	Interval time.Duration // longest time a record is buffered; default 300 s
}

// Credentials are one known set of keys.
type Credentials struct {
	AccessKeyID, SecretAccessKey string

	SessionToken string    // if set, requests must carry it
	Expires      time.Time // zero: never
}

// Counters count since the server was made.
type Counters struct {
	Calls     int            // requests of any kind
	Batches   int            // PutRecordBatch requests
	Taken     int            // Firehose records taken
	Bytes     int64          // of records taken, decoded
	Billed    int64          // of records taken, each rounded up to 5,120
	Failed    int            // Firehose records failed beside others that were taken
	Refused   map[string]int // requests refused, by error name
	Objects   int            // delivered
	LastError string         // of a delivery
}

// maxPending bounds what a stream holds while its objects cannot be written: from then on calls are refused.
const maxPending = 64 << 20

// Server is a strict Firehose. It is an http.Handler; Run serves it on its listener and on connections made with Dial.
type Server struct {
	o        Options
	listener net.Listener // nil: none
	memory   *memoryListener

	mu       sync.Mutex
	rng      *rand.Rand
	streams  map[string]*stream
	faults   Faults
	counters Counters
}

type stream struct {
	Stream
	created time.Time
	pending []byte
	oldest  time.Time // arrival of the oldest pending record
}

// New makes a server and, with Options.Addr, opens its port. Call Run to serve, or Close.
func New(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, memory: newMemoryListener(), rng: rand.New(rand.NewPCG(o.Seed, 0)), streams: make(map[string]*stream)}
	s.counters.Refused = make(map[string]int)
	for _, st := range o.Streams {
		if err := s.CreateStream(st); err != nil {
			return nil, err
		}
	}
	if o.Addr != "" {
		l, err := net.Listen("tcp", o.Addr)
		if err != nil {
			return nil, fmt.Errorf("local Firehose: %w", err)
		}
		s.listener = l
	}
	return s, nil
}

// URL returns the endpoint to configure: the listener's address, or with none a name that only Dial reaches.
func (s *Server) URL() string {
	if s.listener == nil {
		return "http://firehose.invalid"
	}
	return "http://" + s.listener.Addr().String()
}

// Dial opens an in-memory connection to the server. It has the form of net.Dialer.DialContext and ignores the address. Run
// must be running, or ctx ends the wait.
func (s *Server) Dial(ctx context.Context, _, _ string) (net.Conn, error) { return s.memory.dial(ctx) }

// Run serves until ctx is done, delivering objects as they come of age, and then delivers the rest.
func (s *Server) Run(ctx context.Context) error {
	hs := &http.Server{Handler: s, ReadHeaderTimeout: 30 * time.Second}
	serve := []net.Listener{s.memory}
	if s.listener != nil {
		serve = append(serve, s.listener)
	}
	errs := make(chan error, len(serve))
	for _, l := range serve {
		go func() { errs <- hs.Serve(l) }()
	}
	tick := time.NewTicker(500 * time.Millisecond) // an object is late by at most this
	defer tick.Stop()
	var failed error
	running := len(serve)
loop:
	for {
		select {
		case <-ctx.Done():
			break loop
		case failed = <-errs:
			running--
			break loop
		case <-tick.C:
			s.mu.Lock()
			s.deliverDue(false)
			s.mu.Unlock()
		}
	}
	// Calls in flight get a moment; connections that were opened and not used would otherwise hold Shutdown for seconds.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if hs.Shutdown(end) != nil {
		_ = hs.Close()
	}
	for ; running > 0; running-- {
		if err := <-errs; !errors.Is(err, http.ErrServerClosed) && failed == nil {
			failed = err
		}
	}
	if err := s.Flush(); failed == nil {
		failed = err
	}
	if failed != nil {
		return fmt.Errorf("local Firehose: %w", failed)
	}
	return nil
}

// Close releases the port of a server that was never run, and delivers what is pending.
func (s *Server) Close() error {
	if s.listener != nil {
		_ = s.listener.Close() // closed already after Run
	}
	return s.Flush()
}

// CreateStream adds a stream.
func (s *Server) CreateStream(st Stream) error {
	if err := uplink.CheckStream(st.Name); err != nil {
		return fmt.Errorf("local Firehose: %w", err)
	}
	if st.Bucket == "" {
		st.Bucket = st.Name
	}
	if st.Size <= 0 {
		st.Size = defaultSize
	}
	if st.Interval <= 0 {
		st.Interval = defaultInterval
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[st.Name] != nil {
		return fmt.Errorf("local Firehose: stream %s exists", st.Name)
	}
	s.streams[st.Name] = &stream{Stream: st, created: s.o.Now()}
	return nil
}

// DeleteStream removes a stream and what it has not delivered yet, as AWS does. It reports whether the stream was there.
func (s *Server) DeleteStream(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.streams[name]
	delete(s.streams, name)
	return ok
}

// Counters returns a copy.
func (s *Server) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counters
	c.Refused = make(map[string]int, len(s.counters.Refused))
	for k, v := range s.counters.Refused {
		c.Refused[k] = v
	}
	return c
}

// Flush delivers everything that is pending.
func (s *Server) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deliverDue(true)
}

// deliverDue delivers what has come of age, or all. The lock is held.
func (s *Server) deliverDue(all bool) error {
	var first error
	for _, st := range s.streams {
		if len(st.pending) == 0 || !all && s.o.Now().Sub(st.oldest) < st.Interval {
			continue
		}
		if err := s.deliver(st); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// take puts a record into the stream. The lock is held.
func (s *Server) take(st *stream, data []byte) {
	if len(st.pending) > 0 && len(st.pending)+len(data) > st.Size {
		_ = s.deliver(st) // counted there; the records stay pending
	}
	if len(st.pending) == 0 {
		st.oldest = s.o.Now()
	}
	st.pending = append(st.pending, data...)
	s.counters.Taken++
	s.counters.Bytes += int64(len(data))
	s.counters.Billed += int64((len(data) + uplink.BillingStep - 1) / uplink.BillingStep * uplink.BillingStep)
}

// deliver writes one object. The lock is held.
func (s *Server) deliver(st *stream) error {
	key := uplink.ObjectKey(st.Name, st.oldest)
	var err error
	switch {
	case s.o.Deliver != nil:
		err = s.o.Deliver(st.Bucket, key, append([]byte(nil), st.pending...))
	case s.o.Dir != "":
		err = uplink.WriteObject(s.o.Dir, st.Bucket+"/"+key, st.pending)
	}
	if err != nil {
		s.counters.LastError = err.Error()
		return fmt.Errorf("delivering to %s: %w", st.Bucket, err)
	}
	st.pending = st.pending[:0]
	s.counters.Objects++
	return nil
}
