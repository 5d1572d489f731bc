package main

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/nsqio/go-diskqueue"
	"github.com/tidwall/wal"
	"go.etcd.io/bbolt"
	_ "modernc.org/sqlite" // the driver

	"obdagent/buffer"
)

// A store keeps records until they are acknowledged.
type store interface {
	// Write makes a group of records durable.
	Write(ctx context.Context, group [][]byte) error
	// Ack says that all that was written need not be kept; it may be durable with the next group only.
	Ack() error
	Close() error
}

// opener opens a store in a directory. group is how many records a Write has.
type opener func(ctx context.Context, dir string, group int) (store, error)

// stores are those compared, ours first.
var stores = []struct {
	name string
	open opener
}{
	{"ours", openOurs},
	{"SQLite (WAL, FULL)", openSQLite},
	{"bbolt", openBolt},
	{"go-diskqueue", openDiskqueue},
	{"tidwall/wal", openTidwall},
	{"raft-wal", openRaft},
}

type ours struct{ l *buffer.Log }

func openOurs(_ context.Context, dir string, _ int) (store, error) {
	l, err := buffer.Open(buffer.Options{Dir: filepath.Join(dir, "ours")})
	if err != nil {
		return nil, err
	}
	return ours{l}, nil
}

func (s ours) Write(_ context.Context, group [][]byte) error {
	for _, b := range group {
		if _, err := s.l.Append(b); err != nil {
			return err
		}
	}
	return s.l.Commit()
}

func (s ours) Ack() error {
	s.l.Ack(1, s.l.Committed()-1)
	return nil
}

func (s ours) Close() error { return s.l.Close() }

type sqlite struct {
	db      *sql.DB
	written int64
	acked   int64 // by the next transaction
}

func openSQLite(ctx context.Context, dir string, _ int) (store, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "q.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	s := &sqlite{db: db}
	if _, err = db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS q (id INTEGER PRIMARY KEY, b BLOB NOT NULL)"); err == nil {
		err = db.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM q").Scan(&s.written)
	}
	return s, err
}

func (s *sqlite) Write(ctx context.Context, group [][]byte) (err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	insert, err := tx.PrepareContext(ctx, "INSERT INTO q VALUES (?, ?)")
	if err != nil {
		return err
	}
	for _, b := range group {
		s.written++
		if _, err := insert.ExecContext(ctx, s.written, b); err != nil {
			return err
		}
	}
	if err := insert.Close(); err != nil {
		return err
	}
	if s.acked > 0 {
		if _, err := tx.ExecContext(ctx, "DELETE FROM q WHERE id <= ?", s.acked); err != nil {
			return err
		}
		s.acked = 0
	}
	return tx.Commit()
}

func (s *sqlite) Ack() error {
	s.acked = s.written
	return nil
}

func (s *sqlite) Close() error { return s.db.Close() }

type bolt struct {
	db    *bbolt.DB
	acked uint64 // by the next transaction
}

var bucket = []byte("q")

func openBolt(_ context.Context, dir string, _ int) (store, error) {
	db, err := bbolt.Open(filepath.Join(dir, "q.bolt"), 0o600, nil)
	if err != nil {
		return nil, err
	}
	return &bolt{db: db}, nil
}

func (s *bolt) Write(_ context.Context, group [][]byte) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		q, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		q.FillPercent = 1 // keys only grow
		c := q.Cursor()
		for k, _ := c.First(); k != nil && binary.BigEndian.Uint64(k) <= s.acked; k, _ = c.First() {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		for _, b := range group {
			seq, err := q.NextSequence()
			if err != nil {
				return err
			}
			if err := q.Put(binary.BigEndian.AppendUint64(nil, seq), b); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *bolt) Ack() error {
	return s.db.View(func(tx *bbolt.Tx) error {
		s.acked = tx.Bucket(bucket).Sequence()
		return nil
	})
}

func (s *bolt) Close() error { return s.db.Close() }

type queue struct{ q diskqueue.Interface }

func openDiskqueue(_ context.Context, dir string, group int) (store, error) {
	quiet := func(diskqueue.LogLevel, string, ...any) {}
	return queue{diskqueue.New("q", dir, 1<<20, 1, 1<<20, int64(group), time.Hour, quiet)}, nil
}

func (s queue) Write(_ context.Context, group [][]byte) error {
	for _, b := range group {
		if err := s.q.Put(b); err != nil {
			return err
		}
	}
	return nil
}

func (s queue) Ack() error {
	for n := s.q.Depth(); n > 0; n-- {
		<-s.q.ReadChan()
	}
	return nil
}

func (s queue) Close() error { return s.q.Close() }

type tidwall struct {
	l    *wal.Log
	last uint64
}

func openTidwall(_ context.Context, dir string, _ int) (store, error) {
	// Its segments are 20 MB by default, which a truncation rewrites: smaller ones are in its favour.
	l, err := wal.Open(filepath.Join(dir, "wal"), &wal.Options{SegmentSize: 1 << 20, SegmentCacheSize: 2, DirPerms: 0o700, FilePerms: 0o600})
	if err != nil {
		return nil, err
	}
	last, err := l.LastIndex()
	return &tidwall{l, last}, err
}

func (s *tidwall) Write(_ context.Context, group [][]byte) error {
	var b wal.Batch
	for _, r := range group {
		s.last++
		b.Write(s.last, r)
	}
	return s.l.WriteBatch(&b)
}

// Ack keeps the last record: the library cannot be without.
func (s *tidwall) Ack() error { return s.l.TruncateFront(s.last) }

func (s *tidwall) Close() error { return s.l.Close() }

type raftLog struct {
	w           *raftwal.WAL
	first, last uint64
}

func openRaft(_ context.Context, dir string, _ int) (store, error) {
	w, err := raftwal.Open(dir)
	if err != nil {
		return nil, err
	}
	last, err := w.LastIndex()
	return &raftLog{w: w, first: 1, last: last}, err
}

func (s *raftLog) Write(_ context.Context, group [][]byte) error {
	logs := make([]*raft.Log, 0, len(group))
	for _, b := range group {
		s.last++
		logs = append(logs, &raft.Log{Index: s.last, Data: b})
	}
	return s.w.StoreLogs(logs)
}

// Ack keeps the last record, so that the numbers go on.
func (s *raftLog) Ack() error {
	if s.last <= s.first {
		return nil
	}
	err := s.w.DeleteRange(s.first, s.last-1)
	if err != nil {
		return fmt.Errorf("delete %d to %d: %w", s.first, s.last-1, err)
	}
	s.first = s.last
	return nil
}

func (s *raftLog) Close() error { return s.w.Close() }
