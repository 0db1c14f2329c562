# needs: gcc g++
# A compiler, its parts, and what they make.
cat >program.cpp <<'CPP'
#include <algorithm>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>
template <typename T> T power(T base, unsigned exponent) { return exponent ? base * power(base, exponent - 1) : T(1); }
int parse(const std::string &text) {
    if (text.find_first_not_of("0123456789") != std::string::npos) throw std::invalid_argument("not a number: " + text);
    return std::stoi(text);
}
int main(int argc, char **argv) {
    std::map<std::string, int> sums;
    for (std::string text : {"12", "x1", "34", "", "99999999999"}) {
        try { sums["good"] += parse(text); }
        catch (const std::invalid_argument &error) { std::cerr << error.what() << '\n'; sums["bad"]++; }
        catch (const std::exception &error) { std::cout << typeid(error).name() << '\n'; }
    }
    std::vector<long> powers;
    for (unsigned i = 0; i < 20; i++) powers.push_back(power(3L, i) % 1009);
    std::sort(powers.begin(), powers.end(), [](long a, long b) { return a > b; });
    for (long p : powers) std::cout << p << ' ';
    for (auto &[name, sum] : sums) std::cout << name << '=' << sum << ' ';
    std::cout << argc << std::endl;
    if (argc > 1) throw std::runtime_error(argv[1]);
    return 6;
}
CPP
run g++ -O2 -c program.cpp -o by_driver.o
run "$(g++ -print-prog-name=cc1plus)" -quiet -imultiarch "$(g++ -print-multiarch)" -O1 program.cpp -o program.s
run as program.s -o program.o
run ld -r program.o -o linked.o
run "$(g++ -print-prog-name=cc1plus)" -quiet /dev/null -fno-such-flag -o none.s; echo "status $?"
g++ program.o -o program
run ./program; echo "status $?"
run ./program "not caught" 2>messages; echo "status $?"
head -2 messages; rm messages
