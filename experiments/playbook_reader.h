// Reads a playbook whose variables are filled in. Each part is read for itself, and a part that is wrong is still read as far as it can
// be, so that one mistake does not hide another.
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "experiments/playbook.h"
#include "experiments/playbook_parts.h"

namespace capsize {

class PlaybookReader {
 public:
  // `broken`: pointers of values about which enough has been said.
  PlaybookReader(const Catalogs& catalogs, const Json& filled, const std::set<std::string>& broken, Diagnostics& diagnostics)
      : catalogs_(catalogs), filled_(filled), broken_(broken), diagnostics_(diagnostics) {}

  Playbook read();

 private:
  void read_hosts(const Json& hosts);
  void read_targets(const Json& targets);
  void read_probes(const Json& probes);
  void read_timing(const Json& timing);
  void read_escape(const Json& escape);  // playbook_escape.cc, with the rest of what is said of it
  void check_escape_power();
  void read_faults(const Json& faults, const std::string& pointer, std::vector<PlannedFault>& out);
  PlannedFault read_fault(const Json& json, const std::string& pointer);
  bool check_fault_times(const std::vector<PlannedFault>& faults, const std::string& pointer);  // false: one is too long
  void check_run_time(bool faults_fit);
  void check_overlaps();
  void check_unused();
  void check_left_out();
  bool leaves_out(const Expectation& expectation);  // and counts it

  // playbook_game.cc
  void read_sealed(const Json& list);
  void read_steps(const Json& list);
  void check_known_by();
  void check_ends();
  void check_step_time(const RoomStep& step, const std::string& pointer);

  // playbook_expectations.cc
  void read_expectations(const Json& list, const std::string& pointer, std::vector<Expectation>& out);
  void read_guardrails(const Json& list);
  Expectation read_expectation(const ExpectationKeys& keys, const Json& json, const std::string& pointer);
  const MeasureInfo* find_measure_of(const std::string& measure, const std::string& pointer, Expectation& out);
  void read_bounds(const ExpectationKeys& keys, const MeasureInfo* info, const std::string& pointer, Expectation& out);
  void check_during(const ExpectationKeys& keys, const std::string& pointer, Expectation& out);
  void find_fault_named(const std::string& name, const std::string& pointer, Expectation& out);
  void check_power();
  void expect_refusals();
  void check_recovery_time(const Expectation& expectation, const std::string& pointer);
  void check_since(const ExpectationKeys& keys, const Expectation& expectation, const std::string& pointer);
  void check_looks(const Expectation& expectation, const Bound& bound, Duration in_place, const std::string& pointer);

  bool is_broken(const std::string& pointer) const;
  void take(const Diagnostics& found);  // all but what is about broken values
  void wrong(const std::string& pointer, const Mistake& mistake);

  template <class P>
  P parse(const Spec<P>& spec, const Json& json, const std::string& pointer, const std::vector<std::string>& also_known = {}) {
    Diagnostics found;
    P out = spec.parse(json, pointer, also_known, found);
    take(found);
    return out;
  }
  // The parameters that the type of a fault, probe or target adds to `keys`; checked where the type is known.
  Json own_params(const AnySpec* type, const std::vector<FieldInfo>& keys, const Json& json, const std::string& pointer);
  template <class P>
  P common_keys(const Spec<P>& spec, const AnySpec* type, const Json& json, const std::string& pointer);
  // The type that `key` names, or, after saying so, the one that seems to be meant.
  template <class T>
  const T* type_of(const Json& json, const std::string& key, const std::string& pointer, const std::vector<T>& table);
  void check_target(const Json& json, const std::optional<Name>& name, const std::vector<std::string_view>& wanted, std::string_view user, const std::string& pointer);
  bool check_name(const std::string& name, const std::string& pointer);

  const Catalogs& catalogs_;
  const Json& filled_;
  const std::set<std::string>& broken_;
  Diagnostics& diagnostics_;
  Playbook out_;
  std::map<std::string, const TargetType*> target_types_;  // by the playbook's name; null: of no known type
  std::map<std::string, const ProbeType*> probe_types_;
  std::vector<std::size_t> hypothesis_places_;             // and of each expectation of its hypothesis
  std::set<std::string> used_targets_;
  std::set<std::string> used_hosts_;
  bool has_faults_ = false;
};

}  // namespace capsize
