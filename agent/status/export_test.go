package status

import "os"

// OnSync has f do the log's syncs.
func (l *Log) OnSync(f func(*os.File) error) { l.fsync = f }
