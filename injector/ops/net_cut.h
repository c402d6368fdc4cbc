// The ops on TCP connections: count them, cut them.
#pragma once
#include "injector/op_type.h"

namespace capsize {

// All three take a ConnectionMatch (injector/net/connections.h) as args.
// net.connections answers {"matching", "exempt", "others", "v4", "v6", "cookies": [hex, ...] sorted, at most kMostCookies, "listed": whether
// these are all, "sample": ["127.0.0.1:80 - 127.0.0.1:4711", ...]}. A cookie is never used twice, so that a connection of before that is
// not there any more was ended.
OpType net_connections();
// net.cut: detail {"matching", "cut", "already_gone", "exempt", "failed": [sentence, ...], "took_ms"}.
OpType net_cut();
// net.cut_done: always nothing_to_undo.
OpType net_cut_done();

inline constexpr std::size_t kMostCookies = 20000;

// Of the cookies that a first answer of net.connections lists, how many a later one does not: connections that ended in between.
struct CutCount {
  std::size_t before = 0;
  std::size_t gone = 0;
  bool whole = true;  // both lists were complete
};
CutCount count_cut(const Json& before, const Json& after);  // throws Error::bug

}  // namespace capsize
