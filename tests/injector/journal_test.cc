#include "injector/undo/journal.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "injector/base/error.h"
#include "tests/injector/scratch_dir.h"

using namespace capsize;
namespace fs = std::filesystem;

namespace {

UndoResult result(UndoState state, std::string because = "so it was") {
  UndoResult made;
  made.state = state;
  made.because = std::move(because);
  return made;
}

JournalRun run_of(const std::string& run) {
  JournalRun made;
  made.run = run;
  made.boot_id = "this-boot";
  made.agent.pid = 7;
  made.agent.start_ticks = 8;
  made.began = "2026-11-22T22:00:00.000Z";
  return made;
}

JournalStep step_of(const StepId& id) {
  JournalStep step;
  step.id = id;
  step.undo = Op{"test.undo", {{"expect", 0}, {"was", 100}, {"path", "caf\u00e9 \"x\"\n"}}};
  step.lasts = Lasts::until_restart;
  step.lifetime = std::chrono::seconds(30);
  step.at = "2026-11-22T22:00:01.000Z";
  return step;
}

// run, three steps, one undone, one refused, one accepted
std::string sample() {
  return run_record(0, run_of("r1")) + step_record(1, step_of("f0.s0")) + step_record(2, step_of("f0.s1")) + step_record(3, step_of("f1.s0")) +
         done_record(4, "f1.s0", result(UndoState::undone), "now") + done_record(5, "f0.s1", result(UndoState::refused), "now") +
         accepted_record(6, "f0.s1", "ann looked", "now");
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line + "\n");
  return lines;
}

StateDir state_in(const ScratchDir& scratch) { return StateDir::open(scratch.path()); }

fs::path journal_path(const ScratchDir& scratch, const std::string& run) { return scratch.path() / "undo" / (run + ".journal"); }

}  // namespace

TEST_CASE("a journal says what was written into it", "[journal]") {
  const JournalContents contents = parse_journal(sample());
  CHECK(contents.damage == "");
  REQUIRE(contents.run);
  CHECK(contents.run->run == "r1");
  CHECK(contents.run->boot_id == "this-boot");
  CHECK(contents.run->agent == run_of("r1").agent);
  REQUIRE(contents.steps.size() == 3);
  CHECK(contents.steps[0].undo == step_of("x").undo);
  CHECK(contents.steps[0].lasts == Lasts::until_restart);
  CHECK(contents.steps[0].lifetime == std::chrono::seconds(30));
  CHECK(contents.steps[0].outstanding());
  CHECK(!contents.steps[1].outstanding());
  CHECK(contents.steps[1].accepted == "ann looked");
  CHECK(!contents.steps[2].outstanding());
  CHECK(contents.outstanding());
}

TEST_CASE("a refused and a failed undo stay outstanding", "[journal]") {
  for (const UndoState state : {UndoState::refused, UndoState::failed}) {
    const JournalContents contents = parse_journal(run_record(0, run_of("r")) + step_record(1, step_of("s")) + done_record(2, "s", result(state), "now"));
    CHECK(contents.damage == "");
    CHECK(contents.outstanding());
  }
}

TEST_CASE("a journal cut off at any byte says exactly its whole records, and is not damaged", "[journal]") {
  const std::string text = sample();
  for (std::size_t length = 0; length <= text.size(); ++length) {
    const std::string cut = text.substr(0, length);
    const JournalContents contents = parse_journal(cut);
    const auto whole = static_cast<std::size_t>(std::count(cut.begin(), cut.end(), '\n'));
    INFO(length);
    CHECK(contents.damage == "");
    CHECK(contents.records == whole);
    CHECK(contents.run.has_value() == (whole >= 1));
    CHECK(contents.steps.size() == (whole == 0 ? 0 : std::min<std::size_t>(whole - 1, 3)));
    CHECK(contents.good_bytes == (whole == 0 ? 0 : cut.rfind('\n') + 1));
  }
}

TEST_CASE("zeros where the last record was to be are a cut-off record", "[journal]") {
  const std::string text = sample();
  const JournalContents contents = parse_journal(text + std::string(300, '\0'));
  CHECK(contents.damage == "");
  CHECK(contents.good_bytes == text.size());
}

TEST_CASE("any changed byte is damage, and never loses or invents a step that is whole", "[journal]") {
  const std::string text = sample();
  const std::vector<std::string> lines = lines_of(text);
  const JournalContents right = parse_journal(text);
  for (std::size_t place = 0; place < text.size(); ++place) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = text;
      changed[place] = static_cast<char>(static_cast<unsigned char>(changed[place]) ^ (1u << bit));
      const JournalContents contents = parse_journal(changed);
      INFO(place << " bit " << bit);
      REQUIRE(contents.damaged());
      REQUIRE(contents.outstanding());
      for (const JournalStep& step : contents.steps) {
        const JournalStep* same = right.find(step.id);
        REQUIRE(same != nullptr);
        REQUIRE(step.undo == same->undo);
      }
      REQUIRE(contents.steps.size() + 1 >= right.steps.size() - (changed[place] == '\n' ? 0 : 1));
    }
  }
}

TEST_CASE("a line that is missing, doubled or out of its place is damage", "[journal]") {
  const std::vector<std::string> lines = lines_of(sample());
  for (std::size_t i = 0; i + 1 < lines.size(); ++i) {
    std::string missing;
    std::string doubled;
    std::string swapped;
    for (std::size_t j = 0; j < lines.size(); ++j) {
      if (j != i) missing += lines[j];
      doubled += lines[j] + (j == i ? lines[j] : "");
      swapped += j == i ? lines[i + 1] : j == i + 1 ? lines[i] : lines[j];
    }
    INFO(i);
    CHECK(parse_journal(missing).damaged());
    CHECK(parse_journal(doubled).damaged());
    CHECK(parse_journal(swapped).damaged());
  }
}

TEST_CASE("a journal of another format is damage, not an empty one", "[journal]") {
  JournalContents contents = parse_journal("6ed5dc51 {}\n");
  CHECK(contents.damaged());
  CHECK(contents.outstanding());
}

TEST_CASE("what a journal on disk says survives its writer", "[journal]") {
  const ScratchDir scratch;
  const StateDir state = state_in(scratch);
  {
    Journal journal = Journal::create(state, run_of("r1"));
    journal.add_step(step_of("f0.s0"));
    journal.add_step(step_of("f0.s1"));
    CHECK(journal.record_result("f0.s1", result(UndoState::undone), "now"));
  }
  struct stat status = {};
  REQUIRE(stat(journal_path(scratch, "r1").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0600);
  REQUIRE(stat((scratch.path() / "undo").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0700);
  const auto contents = read_journal(state, "r1");
  REQUIRE(contents);
  CHECK(contents->damage == "");
  CHECK(contents->steps.size() == 2);
  CHECK(contents->steps[0].outstanding());
  CHECK(!contents->steps[1].outstanding());
  CHECK(journal_runs(state) == std::vector<std::string>{"r1"});
}

TEST_CASE("one acts on a journal at a time", "[journal]") {
  const ScratchDir scratch;
  const StateDir state = state_in(scratch);
  std::optional<Journal> journal = Journal::create(state, run_of("r1"));
  journal->add_step(step_of("s"));
  CHECK(journal_locked(state, "r1"));
  auto second = Journal::open(state, "r1");
  REQUIRE(second);
  CHECK(!second->try_lock());
  journal.reset();
  CHECK(!journal_locked(state, "r1"));
  REQUIRE(second->try_lock());
  CHECK(second->contents().steps.size() == 1);
}

TEST_CASE("a second journal of one run is refused with the command that ends the first", "[journal]") {
  const ScratchDir scratch;
  const StateDir state = state_in(scratch);
  const Journal journal = Journal::create(state, run_of("r1"));
  CHECK_THROWS_WITH(Journal::create(state, run_of("r1")), Catch::Contains("capsize revert r1"));
}

TEST_CASE("who continues a journal whose last record was cut off writes after the last whole one", "[journal]") {
  const ScratchDir scratch;
  const StateDir state = state_in(scratch);
  { Journal::create(state, run_of("r1")).add_step(step_of("s")); }
  write_file(journal_path(scratch, "r1"), file_text(journal_path(scratch, "r1")) + "1234abcd {\"half\":");
  auto journal = Journal::open(state, "r1");
  REQUIRE(journal);
  REQUIRE(journal->try_lock());
  CHECK(journal->record_result("s", result(UndoState::failed), "now"));
  const auto contents = read_journal(state, "r1");
  CHECK(contents->damage == "");
  CHECK(contents->records == 3);
}

TEST_CASE("a damaged journal is neither cut nor written to", "[journal]") {
  const ScratchDir scratch;
  const StateDir state = state_in(scratch);
  { Journal::create(state, run_of("r1")).add_step(step_of("s")); }
  std::string text = file_text(journal_path(scratch, "r1"));
  text[20] ^= 1;
  text += "torn";
  write_file(journal_path(scratch, "r1"), text);
  auto journal = Journal::open(state, "r1");
  REQUIRE(journal->try_lock());
  CHECK(journal->contents().damaged());
  REQUIRE(journal->contents().find("s"));
  CHECK(!journal->record_result("s", result(UndoState::undone), "now"));
  CHECK_THROWS_AS(journal->add_step(step_of("t")), Error);
  CHECK_THROWS_AS(journal->remove(), Error);
  CHECK(file_text(journal_path(scratch, "r1")) == text);
}

TEST_CASE("a journal goes only when nothing is outstanding", "[journal]") {
  const ScratchDir scratch;
  const StateDir state = state_in(scratch);
  Journal journal = Journal::create(state, run_of("r1"));
  journal.add_step(step_of("s"));
  CHECK_THROWS_AS(journal.remove(), Error);
  journal.record_result("s", result(UndoState::nothing_to_undo), "now");
  journal.remove();
  CHECK(!read_journal(state, "r1"));
  CHECK(!fs::exists(journal_path(scratch, "r1")));
}

TEST_CASE("a journal that is a link, open to others or somebody else's is not acted on", "[journal]") {
  const ScratchDir scratch;
  const StateDir state = state_in(scratch);
  { Journal::create(state, run_of("r1")).add_step(step_of("s")); }
  const fs::path path = journal_path(scratch, "r1");
  std::string wanted;
  SECTION("a symbolic link") {
    fs::rename(path, scratch / "elsewhere");
    fs::create_symlink(scratch / "elsewhere", path);
    wanted = "symbolic link";
  }
  SECTION("a second name") {
    fs::create_hard_link(path, scratch / "second");
    wanted = "not a plain file with one name";
  }
  SECTION("readable by others") {
    fs::permissions(path, fs::perms::others_read, fs::perm_options::add);
    wanted = "mode 0604";
  }
  SECTION("a folder") {
    fs::remove(path);
    fs::create_directory(path);
    wanted = "Is a directory";
  }
  if (geteuid() == 0) {
    SECTION("another owner") {
      REQUIRE(chown(path.c_str(), 65534, 65534) == 0);
      wanted = "belongs to user 65534";
    }
  }
  if (wanted.empty()) return;
  CHECK_THROWS_WITH(Journal::open(state, "r1"), Catch::Contains(wanted));
  const auto contents = read_journal(state, "r1");
  REQUIRE(contents);  // seen, and said to be outstanding, but none of its steps is trusted
  CHECK(contents->outstanding());
  if (wanted != "Is a directory") CHECK_THAT(contents->damage, Catch::Contains(wanted));
  CHECK(contents->steps.empty());
}

TEST_CASE("a run id that could leave the folder is refused", "[journal]") {
  const ScratchDir scratch;
  const StateDir state = state_in(scratch);
  for (const std::string& run : {std::string(""), std::string("../x"), std::string("a/b"), std::string(".hidden"), std::string("a b"), std::string("a\n"), std::string("x\0y", 3), std::string(129, 'a')}) {
    INFO(run);
    CHECK_THROWS_AS(Journal::create(state, run_of(run)), Error);
    CHECK_THROWS_AS(Journal::open(state, run), Error);
  }
  CHECK(fs::is_empty(scratch.path() / "undo"));
}

TEST_CASE("a step that cannot be written is not in the journal, and the journal stays whole", "[journal]") {
  const ScratchDir scratch;
  const StateDir state = state_in(scratch);
  Journal journal = Journal::create(state, run_of("r1"));
  journal.add_step(step_of("first"));
  const std::string before = file_text(journal_path(scratch, "r1"));
  signal(SIGXFSZ, SIG_IGN);
  rlimit usual = {};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &usual) == 0);
  const std::size_t whole = step_record(2, step_of("second")).size();
  for (std::size_t room = 0; room < whole; room += 7) {
    rlimit full = usual;
    full.rlim_cur = before.size() + room;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &full) == 0);
    std::string problem;
    try {
      journal.add_step(step_of("second"));
    } catch (const Error& error) {
      problem = error.what();
    }
    REQUIRE(setrlimit(RLIMIT_FSIZE, &usual) == 0);
    INFO(room);
    CHECK_THAT(problem, Catch::Contains("nothing was injected"));
    CHECK(journal.contents().steps.size() == 1);
    CHECK(file_text(journal_path(scratch, "r1")) == before);
  }
  journal.add_step(step_of("second"));
  CHECK(read_journal(state, "r1")->steps.size() == 2);
}

TEST_CASE("a state folder that others could change, or behind a link, is refused", "[journal][state]") {
  const ScratchDir scratch;
  fs::create_directory(scratch / "real");
  SECTION("a link on the way") {
    fs::create_directory_symlink(scratch / "real", scratch / "link");
    CHECK_THROWS_WITH(StateDir::open(scratch / "link/state"), Catch::Contains("link is a symbolic link"));
    CHECK_THROWS_WITH(StateDir::open(scratch / "link"), Catch::Contains("link is a symbolic link"));
    CHECK(fs::is_empty(scratch / "real"));
  }
  SECTION("writable by a group") {
    fs::permissions(scratch / "real", fs::perms::group_write, fs::perm_options::add);
    CHECK_THROWS_WITH(StateDir::open(scratch / "real"), Catch::Contains("others could change it"));
  }
  SECTION("an undo folder open to others") {
    fs::create_directory(scratch / "real/undo");
    fs::permissions(scratch / "real/undo", fs::perms(0755));
    CHECK_THROWS_WITH(StateDir::open(scratch / "real"), Catch::Contains("chmod 700"));
  }
  SECTION("a file where a folder should be") {
    write_file(scratch / "file", "x");
    CHECK_THROWS_AS(StateDir::open(scratch / "file"), Error);
  }
}

TEST_CASE("looking for journals makes no folder", "[journal][state]") {
  const ScratchDir scratch;
  CHECK(!StateDir::open_existing(scratch / "a/b"));
  CHECK(fs::is_empty(scratch.path()));
  StateDir::open(scratch / "a/b");
  CHECK(StateDir::open_existing(scratch / "a/b"));
}
