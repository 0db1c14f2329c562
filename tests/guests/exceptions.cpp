// C++ exceptions: through deep frames, with destructors, rethrown, nested, through C code, across threads, and
// thrown by a handler of a synchronous signal (unwinding through the signal frame).
#include "guest.h"
#include <algorithm>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static int destroyed;
struct Guard {
    ~Guard() { destroyed++; }
};

__attribute__((noinline)) static int deep(int level, int kind) {
    Guard guard;
    if (level == 0) {
        if (kind == 0) throw std::runtime_error("deep");
        if (kind == 1) throw 17;
        if (kind == 2) throw std::string("text");
        std::vector<int>().at(3);
    }
    return deep(level - 1, kind) + 1;
}

extern "C" int compare(const void *, const void *) { throw std::logic_error("from qsort"); }

static void on_fault(int, siginfo_t *, void *) { throw std::domain_error("from a handler"); }

__attribute__((noinline)) static int load(volatile int *address) { return *address; }

static std::string nested(int level) {
    try {
        try {
            if (level == 0) throw std::runtime_error("bottom");
            nested(level - 1);
        } catch (...) {
            std::throw_with_nested(std::runtime_error("level " + std::to_string(level)));
        }
    } catch (...) {
        if (level < 3) throw;
        std::string text;
        std::function<void(const std::exception &)> walk = [&](const std::exception &error) {
            text += error.what();
            text += ';';
            try {
                std::rethrow_if_nested(error);
            } catch (const std::exception &inner) {
                walk(inner);
            }
        };
        try {
            throw;
        } catch (const std::exception &error) {
            walk(error);
        }
        return text;
    }
    return "none";
}

int main() {
    for (int i = 0; i < 200; i++) {
        try {
            deep(i % 50, i % 4);
            CHECK(!"reached");
        } catch (const std::out_of_range &) {
            CHECK_EQ(i % 4, 3);
        } catch (const std::exception &error) {
            CHECK_EQ(i % 4, 0);
            CHECK(std::string(error.what()) == "deep");
        } catch (int value) {
            CHECK_EQ(value, 17);
        } catch (const std::string &text) {
            CHECK(text == "text");
        }
    }
    printf("destroyed %d\n", destroyed);
    printf("%s\n", nested(3).c_str());

    int numbers[4] = {4, 3, 2, 1};
    try {
        qsort(numbers, 4, sizeof *numbers, compare);
        CHECK(!"reached");
    } catch (const std::logic_error &error) {
        printf("%s\n", error.what());
    }

    guest_handle(SIGSEGV, on_fault, SA_NODEFER);
    for (int i = 0; i < 5; i++) {
        try {
            load((volatile int *)16);
            CHECK(!"reached");
        } catch (const std::domain_error &error) {
            if (i == 0) printf("%s\n", error.what());
        }
    }

    std::exception_ptr carried;
    std::thread thread([&] {
        try {
            deep(10, 0);
        } catch (...) {
            carried = std::current_exception();
        }
    });
    thread.join();
    try {
        std::rethrow_exception(carried);
    } catch (const std::runtime_error &error) {
        printf("carried: %s\n", error.what());
    }

    std::vector<std::string> words;
    for (int i = 0; i < 500; i++) words.push_back(std::to_string(i * 7919 % 1000));
    std::sort(words.begin(), words.end());
    printf("%s %s\n", words.front().c_str(), words.back().c_str());
    return guest_end();
}
