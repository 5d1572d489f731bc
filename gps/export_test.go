package gps

// PortsUnder opens the listing of serial ports to the tests, which bring a system of their own.
var PortsUnder = portsUnder
