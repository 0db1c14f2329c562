// Exactness: C++ exceptions through a few frames, virtual calls, standard containers.
#include "guest.h"
#include <stdexcept>

struct Shape {
    virtual ~Shape() {}
    virtual int area() const = 0;
};
struct Square : Shape {
    int side;
    explicit Square(int side) : side(side) {}
    int area() const override {
        if (side == 5) throw std::runtime_error("five");
        return side * side;
    }
};

int main() {
    int sum = 0;
    for (int i = 0; i < 7; i++) {
        try {
            Shape *shape = new Square(i);
            sum += shape->area();
            delete shape;
        } catch (const std::runtime_error &error) {
            sum += 1000 + (int)strlen(error.what());
        }
    }
    printf("%d\n", sum);
    return guest_end();
}
