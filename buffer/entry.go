package buffer

import "time"

// An Entry is what a Reader hands out: a record, or word of records that are lost.
type Entry struct {
	Seq  uint64 // sequence number of the record, or the first lost one; counts from 1 over the life of the directory
	Data []byte // the record; valid until the next call of the Reader. nil if Lost is set
	Lost *Lost  // records that will never come; nil for a record
}

// Lost is a range of records that were given up. Whoever reads it acknowledges it like records once the word of it is
// passed on; until then it is handed out again after every Open.
type Lost struct {
	From, To uint64 // first and last sequence number, inclusive
	Reason   string // ReasonOverflow, ReasonThinned, ReasonDamaged or ReasonTorn
}

// Why records were lost.
const (
	ReasonOverflow = "overflow" // the buffer was full, on disk or in memory
	ReasonThinned  = "thinned"  // the buffer was full: of the oldest one in ten was kept
	ReasonDamaged  = "damaged"  // the bytes on disk are no longer what was written
	ReasonTorn     = "torn"     // the power went while they were written: they had not been committed
	reasonRefused  = "refused"  // Append returned ErrFull; such records have no number, and appear in Stats only
)

// Reasons lists why records are lost or refused, as the keys of Stats.LostRecords.
func Reasons() []string {
	return []string{ReasonOverflow, ReasonThinned, ReasonDamaged, ReasonTorn, reasonRefused}
}

// The beginnings of Stats.State, behind the latter two of which the error follows.
const (
	StateOK            = "ok"
	StateStorageFull   = "storage full: "   // the disk has no room; records are kept in memory meanwhile
	StateStorageFailed = "storage failed: " // the disk does not work; likewise
)

// Stats is a snapshot for people and metrics.
type Stats struct {
	State          string        // StateOK, or StateStorageFull or StateStorageFailed and why
	FirstSeq       uint64        // oldest record on disk that is not acknowledged; NextSeq if there is none
	NextSeq        uint64        // what the next Append will get
	AckedBelow     uint64        // everything below is acknowledged
	Records        uint64        // not acknowledged, committed or not; those dropped with their segment do not count, those kept by Thin are reckoned
	Bytes          int64         // on disk, spare segments included; between Open and Run or the first commit reckoned from their number
	MaxBytes       int64         // bound of Bytes
	Segments       int           // with records; spare ones are not counted
	Quarantined    int           // damaged segments set aside
	Unsynced       int           // records appended and not committed
	OldestUnsynced time.Duration // age of the oldest of them
	Commits        uint64        // since Open
	CommitTime     time.Duration // of the last commit
	OldestAge      time.Duration // of the oldest record that is not acknowledged, suspended time not counted
	// OldestBeforeOpen says that it was appended before Open, nobody knows when: OldestAge is the time since Open.
	OldestBeforeOpen bool
	Payload          int64             // bytes of the records appended since Open
	Written          int64             // bytes given to the file system since Open, the filling of new segments included
	Syncs            SyncTimes         // how long the storage takes
	LostRecords      map[string]uint64 // since Open, by reason; "refused" are those Append returned ErrFull for
}
