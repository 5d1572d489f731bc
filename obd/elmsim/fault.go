package elmsim

// A Fault is something that real adapters, lines or cars do. It befalls one reply to a request of the car, unless its
// comment says otherwise.
type Fault int

// The faults. The reply of the adapter is given where there is one.
const (
	NoFault         Fault = iota
	NoData                // NO DATA
	UnableToConnect       // UNABLE TO CONNECT
	SearchingUnable       // SEARCHING...UNABLE TO CONNECT on one line
	NotConnected          // NOT CONNECTED
	BusInitError          // BUS INIT: ...ERROR
	BusInitOK             // BUS INIT: OK glued to the data
	CANError              // CAN ERROR
	BusError              // BUS ERROR
	BusBusy               // BUS BUSY
	FBError               // FB ERROR
	DataError             // DATA ERROR
	DataErrorMark         // <DATA ERROR behind the data
	RxErrorMark           // <RX ERROR behind the data
	Err94                 // ERR94; settings are lost, and searches leave CAN out until ATFE or ATZ
	BufferFull            // a cut frame and BUFFER FULL on one line
	BufferFullLine        // a cut frame, and BUFFER FULL on the next line
	Stopped               // STOPPED
	LVReset               // LV RESET; settings are lost, and searches leave CAN out until ATFE or ATZ
	ActAlert              // !ACT ALERT before the data
	UnknownCommand        // ?
	Refused               // 7F 01 12
	Pending               // 7F 01 78, then the data
	PendingOnly           // 7F 01 78 and nothing more
	Silence               // no byte, no prompt; later commands are answered
	LateAnswer            // the reply begins only after Options.Late
	NoPrompt              // the data without the prompt
	Truncate              // the reply is cut at Options.CutAt, then the prompt
	NULs                  // NUL bytes strewn through the reply
	NULAfterPrompt        // a NUL behind the prompt
	LFAfterPrompt         // a LF behind the prompt
	Echo                  // the command is echoed
	GluedSearching        // SEARCHING... glued to the data
	SearchingLine         // SEARCHING... on a line before the data
	CRLF                  // line ends of CR LF
	LeadingCR             // line ends before instead of after
	OneByteAtATime        // each byte is a write of its own
	Spaces                // spaces between the bytes, whatever ATS says
	NoHeaders             // no headers, whatever ATH says
	WrongPID              // a well-formed answer to another PID
	WrongService          // a well-formed answer of another service
	ForeignECUFirst       // another ECU answers first, another value
	ForeignECUOnly        // only another ECU answers
	Implausible           // two data bytes FF FF
	Checksum              // a byte behind the data, as obdsim appends it
	Chatter               // a line of a Bluetooth module, +CONNECTED
	ShortFrame            // the last data byte is missing
	LostFrame             // the second frame of several is missing
	SwappedFrames         // the second and third frame of several change places
	BadBusChecksum        // a wrong checksum (not CAN)
	GarbageBytes          // bytes drawn by lot, then the prompt
	Unplugged             // the line is closed instead of an answer
	ActAlertPlain         // ACT ALERT before the data
	LPAlert               // LP ALERT before the data; the chip stays awake
	LowPower              // the data, then LP ALERT unasked, and two seconds later the chip sleeps
	Asleep                // no byte, no prompt: the chip has gone to sleep without a word
	LockUp                // no byte, no prompt, and nothing more until the port is opened anew
	BusInitPause          // BUS INIT: and a pause of Options.BusInit, then OK and the data
	Err42                 // ERR42, another internal fault
	RefusedService        // 7F 01 11
	NoFlowControl         // the adapter sends no flow control: of several frames only the first comes
	LatePrompt            // the data, a pause of 300 ms, then the prompt, as Bluetooth chops it
	HeldBack              // the reply is held back for 16 ms, as an FTDI chip does
	GarbageLine           // a line of one byte FC before the data, as after a reset
	SearchPause           // SEARCHING... and a pause of Options.BusInit, then the data
	NoIndex               // no headers, and the frames of several have neither length nor number, as one clone shows them
	ColonBlank            // no headers, and a blank behind the number of a frame, whatever ATS says
	faultEnd
)

var faultNames = map[Fault]string{
	NoFault: "none", NoData: "NO DATA", UnableToConnect: "UNABLE TO CONNECT", SearchingUnable: "SEARCHING...UNABLE TO CONNECT",
	NotConnected: "NOT CONNECTED", BusInitError: "BUS INIT: ...ERROR", BusInitOK: "BUS INIT: OK", CANError: "CAN ERROR",
	BusError: "BUS ERROR", BusBusy: "BUS BUSY", FBError: "FB ERROR", DataError: "DATA ERROR", DataErrorMark: "<DATA ERROR",
	RxErrorMark: "<RX ERROR", Err94: "ERR94", BufferFull: "BUFFER FULL", BufferFullLine: "BUFFER FULL on its own line",
	Stopped: "STOPPED", LVReset: "LV RESET", ActAlert: "!ACT ALERT", UnknownCommand: "?", Refused: "7F 01 12", Pending: "7F 01 78 and data",
	PendingOnly: "7F 01 78", Silence: "silence", LateAnswer: "late answer", NoPrompt: "no prompt", Truncate: "truncated",
	NULs: "NULs", NULAfterPrompt: "NUL after the prompt", LFAfterPrompt: "LF after the prompt", Echo: "echo", GluedSearching: "glued SEARCHING",
	SearchingLine: "SEARCHING line", CRLF: "CR LF", LeadingCR: "leading CR", OneByteAtATime: "one byte at a time", Spaces: "spaces",
	NoHeaders: "no headers", WrongPID: "wrong PID", WrongService: "wrong service", ForeignECUFirst: "foreign ECU first",
	ForeignECUOnly: "foreign ECU only", Implausible: "implausible", Checksum: "checksum on CAN", Chatter: "chatter", ShortFrame: "short frame",
	LostFrame: "lost frame", SwappedFrames: "swapped frames", BadBusChecksum: "bad checksum", GarbageBytes: "garbage", Unplugged: "unplugged",
	ActAlertPlain: "ACT ALERT", LPAlert: "LP ALERT", LowPower: "low power", Asleep: "asleep", LockUp: "lock-up", BusInitPause: "BUS INIT with a pause",
	Err42: "ERR42", RefusedService: "7F 01 11", NoFlowControl: "no flow control", LatePrompt: "late prompt", HeldBack: "held back", GarbageLine: "garbage line",
	SearchPause: "SEARCHING with a pause", NoIndex: "no headers and no numbers", ColonBlank: "no headers and a blank",
}

// String is the fault's name for people.
func (f Fault) String() string { return faultNames[f] }

// Faults lists all faults.
func Faults() []Fault {
	var all []Fault
	for f := NoFault + 1; f < faultEnd; f++ {
		all = append(all, f)
	}
	return all
}
