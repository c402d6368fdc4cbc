// One small request each for the parts of the kernel's network that network faults may need. All throw NetlinkError; all run in the network
// namespace of the calling thread and are meant for one that is thrown away.
#pragma once

namespace capsize {

void try_ifb();           // makes an ifb device
void try_clsact();        // on loopback, as the others
void try_netem();
void try_tbf();
void try_sock_destroy();  // of a connection that is not there
void try_ipv6();          // gives loopback an address
void try_administration();  // reads nf_tables, which takes CAP_NET_ADMIN

}  // namespace capsize
