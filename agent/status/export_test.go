package status

import "time"

// SetEvery makes the page's stream quicker or slower than a second.
func (p *Page) SetEvery(every time.Duration) { p.every = every }
